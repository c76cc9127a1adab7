"""The released recipe of extraction, written anew from its description, to measure ours against.

    python -m benchmarks.released_extract FOLDER OUT.h5

torch's DataLoader with 2 workers and Pillow, VGG-19 in float32 in torch's usual memory order (NCHW), one gzip dataset
of float32 [512, 196] an image. It computes no fc7, which ours does. The model and the first batch are not in the time.
"""

import argparse
import time
from pathlib import Path

import h5py
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms
from torchvision.models import vgg19

BATCH = 16


class Photos(Dataset):
    """Files of a folder, as VGG-19 wants them."""

    def __init__(self, folder: Path, images: int) -> None:
        self.files = sorted(folder.iterdir())[:images]
        self.transform = transforms.Compose(
            [
                transforms.Resize((224, 224)),
                transforms.ToTensor(),
                transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
            ]
        )

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, str]:
        path = self.files[index]
        with Image.open(path) as image:
            return self.transform(image.convert("RGB")), path.name


def main() -> None:
    """Extract the folder and print images/s."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--images", type=int, default=256)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    network = vgg19(weights=None).features[:-1].eval()
    photos = Photos(arguments.folder, arguments.images)
    images, started = 0, 0.0
    with h5py.File(arguments.out, "w") as file, torch.no_grad():
        for pixels, names in DataLoader(photos, batch_size=BATCH, num_workers=2):
            maps = network(pixels).flatten(2).numpy()
            for name, regions in zip(names, maps, strict=True):
                file.create_dataset(f"{name}-features", data=regions, compression="gzip")
            if started:
                images += len(names)
            else:
                started = time.perf_counter()
    print(images / (time.perf_counter() - started))


if __name__ == "__main__":
    main()
