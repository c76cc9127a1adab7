"""What fitting and applying a model share: schedule, checkpoint, saved weights, scoring, journal. Stages wire it up.

schedule     learning rate of each epoch
computing    device, precision, threads, repeatable arithmetic
peers        the other processes of a run with several
weights      model.safetensors: a model that says itself how to build it
checkpoint   everything needed to go on in the middle of an epoch, in one file
scoring      scores and codes of all images of a selection
validation   what picks the epoch
journal      train.log and TensorBoard events
loop         epochs and steps
"""
