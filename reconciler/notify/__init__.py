"""What is told to the outside when an object's recorded phase changes. Pure: no I/O, no clock.

``events`` finds what is new between two states of the status branch, ``digest`` gathers it until
it is sent, ``body`` makes a body of it, and ``signature`` the headers by which it is believed.
"""
