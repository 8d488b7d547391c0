"""What can be made to fail, one module a kind of fault.

To add a fault, write a class with the members of `interface.Fault` and name it in the
matrix of a lab. It needs a test with two controls: that it destroys what it should, and
that it leaves what it should.
"""
