"""The lab on memory and bytes: what an entry costs, where, by its shape.

It has no faults and no trials. Each cell is a quantity: real servers are measured in
several shapes, the constants of a model are fitted to them, and the model is held against
shapes that the fit has not seen. Bytes don't depend on how busy a machine is; no time is
recorded.
"""
