"""Fitting a model: schedule, checkpoint, journal, epochs and steps. Stage `train` wires it up.

schedule     learning rate of each epoch
fabric       device, precision, and the connection of several ranks
ranks        the other processes of a run with several
checkpoint   everything needed to go on in the middle of an epoch, in one file
validation   what picks the epoch
journal      train.log and TensorBoard events
loop         epochs and steps
"""
