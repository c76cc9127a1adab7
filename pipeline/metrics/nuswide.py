"""Protocol `nuswide`: every image and every label counts.

AP of a label over the images whose code is known; a label without positives has AP 0 and stays in the mean. F1@K is
micro over all images. The mAP of seen and unseen labels together is therefore exactly the mean of both, weighted by
their numbers.

Source: BiAM (ICCV 2021), section 3, and the counts of its reference implementation.
"""

from pipeline.metrics.classwise import ClassWise
from pipeline.metrics.measurement import overall_figures

KS = (3, 5)
HEADLINE = "map"

ranking = ClassWise
figures = overall_figures
