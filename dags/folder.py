"""A user's own images, with labels in a CSV file and a list of labels to hold out as unseen.

Command: biam-pipe run --dataset folder --set dataset.folders='["photos"]' --set dataset.labels=labels.csv
         --set dataset.unseen=unseen.txt --set embed.vectors=glove.6B.300d.txt
"""

from typing import Any

SETTINGS: dict[str, Any] = {"dataset": {"name": "folder"}}
