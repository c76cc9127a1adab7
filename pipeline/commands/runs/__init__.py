"""The runs of a data set: which there are, in what two differ, which is the one to use, and what none of them needs."""
