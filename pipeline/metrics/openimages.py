"""Protocol `openimages`: the rules of `nuswide` at K = 10 and 20, for labels of which most cells are unknown.

A label ranks the images verified for it, as present or absent; a label without positives has AP 0 and stays in the
mean. Among the K best labels of an image an unknown one counts as wrong. About two thirds of the verified cells of the
test images are positive, so that random scores reach a high AP: read a figure beside its chance level.

The published numbers were not counted so, but as `openimages-biam` counts.
"""

from pipeline.metrics.classwise import ClassWise
from pipeline.metrics.measurement import overall_figures

KS = (10, 20)
HEADLINE = "map"

ranking = ClassWise
figures = overall_figures
