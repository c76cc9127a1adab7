"""The stages of biam-pipe and the rooms they draw on; `pipeline.flow` is the door."""
