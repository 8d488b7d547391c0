"""What the site shows of a record: tables, sentences and charts, as committed files.

All of it is derived: nobody types a measured number. A cell that is not recorded, could
not be run or has only void trials says so; it is never empty, and never zero.
"""
