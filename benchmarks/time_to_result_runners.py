"""The competitors of `time_to_result.py`, each started as a process of its own.

Each prints a line `@{"seconds": .., "cpu": .., "auc": ..}` after every epoch and `@{"end": .., "cpu": ..}` at its end:
seconds since the start of the process, seconds of all cores that it and its children used, and the AUC of the
validation images.
"""

from __future__ import annotations

import json
import os
import sys
import time

STARTED = time.time()


def tell(**values: float) -> None:
    """Print a row, with the seconds of all cores used so far."""
    used = os.times()
    row = {**values, "cpu": used.user + used.system + used.children_user + used.children_system}
    sys.stdout.write("@" + json.dumps(row) + "\n")
    sys.stdout.flush()


def epoch(labels: object, scores: object) -> None:
    """Tell of an epoch, by the scores of the validation images."""
    from sklearn.metrics import roc_auc_score

    tell(auc=float(roc_auc_score(labels, scores)), seconds=time.time() - STARTED)


def pellucid(data: str, weights: str, recipe: str, out: str, *changes: str) -> None:
    from pellucid import train
    from pellucid.training.history import History

    add = History.add

    def told(self: History, row: dict[str, float]) -> bool:
        tell(auc=row["val_roc_auc"], seconds=time.time() - STARTED)
        return add(self, row)

    History.add = told  # type: ignore[method-assign]

    train(data, recipe=recipe, out=out, backbone="mobilenet_v2", weights=weights, overrides=changes)
    tell(end=time.time() - STARTED)


def fastai(data: str, weights: str) -> None:
    import torch
    from fastai.vision.all import (
        Callback,
        ImageDataLoaders,
        Normalize,
        Resize,
        aug_transforms,
        default_split,
        imagenet_stats,
        model_meta,
        models,
        set_seed,
        vision_learner,
    )
    from safetensors.torch import load_file

    class Told(Callback):
        def after_epoch(self) -> None:
            scores, labels = [], []
            self.learn.model.eval()
            with torch.no_grad():
                for images, truth in dls.valid:
                    scores.append(self.learn.model(images).softmax(1)[:, 1])
                    labels.append(truth)
            epoch(torch.cat(labels).numpy(), torch.cat(scores).numpy())

    set_seed(0)
    dls = ImageDataLoaders.from_folder(
        data, train="train", valid="val", item_tfms=Resize(224), batch_tfms=aug_transforms(), bs=64, num_workers=0
    )
    # MobileNetV2 is cut behind its features: fastai finds no pooling module in it, and ignores the learner's own `cut`.
    model_meta[models.mobilenet_v2] = {"cut": -1, "split": default_split}
    learner = vision_learner(dls, models.mobilenet_v2, pretrained=False)
    dls.add_tfms([Normalize.from_stats(*imagenet_stats, cuda=False)], "after_batch")
    found = {k.removeprefix("features."): v for k, v in load_file(weights).items() if k.startswith("features.")}
    learner.model[0][0].load_state_dict(found)
    learner.freeze()
    learner.add_cb(Told())
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(4)
    tell(end=time.time() - STARTED)


def torchvision(data: str, weights: str) -> None:
    import torch
    from safetensors.torch import load_file
    from torchvision import datasets, transforms
    from torchvision.models import mobilenet_v2

    torch.manual_seed(0)
    values = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    crop = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(), values]
    plain = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), values]
    sets = {
        part: datasets.ImageFolder(f"{data}/{part}", transforms.Compose(changes))
        for part, changes in (("train", crop), ("val", plain))
    }
    batches = {k: torch.utils.data.DataLoader(v, 32, shuffle=k == "train", num_workers=0) for k, v in sets.items()}
    network = mobilenet_v2()
    network.load_state_dict(load_file(weights))
    network.classifier[1] = torch.nn.Linear(network.last_channel, len(sets["train"].classes))
    optimiser = torch.optim.SGD(network.parameters(), lr=0.001, momentum=0.9)
    loss = torch.nn.CrossEntropyLoss()
    for _ in range(5):
        network.train()
        for images, labels in batches["train"]:
            optimiser.zero_grad()
            loss(network(images), labels).backward()
            optimiser.step()
        network.eval()
        with torch.no_grad():
            answers = [(labels, network(images).softmax(1)[:, 1]) for images, labels in batches["val"]]
        epoch(torch.cat([a[0] for a in answers]).numpy(), torch.cat([a[1] for a in answers]).numpy())
    tell(end=time.time() - STARTED)


if __name__ == "__main__":
    runners = {"pellucid": pellucid, "fastai": fastai, "torchvision": torchvision}
    runners[sys.argv[1]](*sys.argv[2:])
