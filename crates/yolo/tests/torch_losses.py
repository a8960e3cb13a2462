"""Losses with labels by PyTorch's autograd, in double precision, written from the papers.

usage: torch_losses.py FOLDER...

Each folder holds case.json, which says what the raw outputs predict and what is labelled, and the outputs beside it as raw0,
raw1, ... (raw float32). FOLDER/loss (one raw float64) and FOLDER/gradient0, gradient1, ... (raw float64) are written.
"""

import json
import math
import os
import sys

import numpy as np
import torch
import torch.nn.functional as F


def pairwise_iou(a, b):
    """Of boxes [P, 4] and [T, 4] as corners: [T, P]."""
    low = torch.maximum(a[None, :, :2], b[:, None, :2])
    high = torch.minimum(a[None, :, 2:], b[:, None, 2:])
    shared = (high - low).clamp(min=0).prod(2)
    area_a = (a[:, 2:] - a[:, :2]).prod(1)[None]
    area_b = (b[:, 2:] - b[:, :2]).prod(1)[:, None]
    return shared / (area_a + area_b - shared)


def elementwise_iou(a, b):
    return torch.stack([pairwise_iou(x[None], y[None])[0, 0] for x, y in zip(a, b)])


def ciou(a, b):
    """Complete IoU of boxes [M, 4] each, arXiv:1911.08287."""
    iou = elementwise_iou(a, b)
    between = ((a[:, :2] + a[:, 2:] - b[:, :2] - b[:, 2:]) / 2).pow(2).sum(1)
    hull = torch.maximum(a[:, 2:], b[:, 2:]) - torch.minimum(a[:, :2], b[:, :2])
    size = lambda x: (x[:, 2:] - x[:, :2]).clamp(min=1e-3).unbind(1)
    (aw, ah), (bw, bh) = size(a), size(b)
    v = 4 / math.pi**2 * (torch.atan(bw / bh) - torch.atan(aw / ah)) ** 2
    with torch.no_grad():
        alpha = v / (1 - iou + v)
    return iou - between / hull.pow(2).sum(1) - alpha * v


class Head:
    """All boxes of a head, one a row, the finest scale's first."""

    def __init__(self, case, raw):
        box, cls, obj, cell, stride, anchor, level = [], [], [], [], [], [], []
        bins = case["bins"]
        for i, part in enumerate(case["boxes"]):
            rows, columns = part["rows"], part["columns"]

            def channels(name, count):
                output, first = part[name]
                return raw[output].view(-1, rows * columns)[first : first + count].T

            box.append(channels("boxes", 4 * bins))
            cls.append(channels("classes", case["classes"]))
            if part["objectness"]:
                obj.append(channels("objectness", 1)[:, 0])
            y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            cell.append(torch.stack([x.flatten(), y.flatten()], 1).double())
            step = [case["size_px"][1] / columns, case["size_px"][0] / rows]
            stride.append(torch.tensor([step]).double().expand(rows * columns, 2))
            if case["anchors"]:
                anchor.append(torch.tensor([case["anchors"][i]]).double().expand(rows * columns, 2))
            level += [part["level"]] * (rows * columns)
        self.box, self.cls, self.cell, self.stride = (torch.cat(x) for x in (box, cls, cell, stride))
        self.obj = torch.cat(obj) if obj else None
        self.anchor = torch.cat(anchor) if anchor else None
        self.level = torch.tensor(level)
        self.part = torch.cat([torch.full((len(b),), i) for i, b in enumerate(box)])
        self.centre = (self.cell + 0.5) * self.stride


def lowest(cost, k):
    return sorted(range(len(cost)), key=lambda i: (cost[i], i))[:k]


def bce(logits, target):
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def distances(case, head, box, label):
    """TOOD's assigner, complete IoU, distribution focal loss."""
    bins = case["bins"]
    logits = head.box.view(-1, 4, bins)
    side = (logits.softmax(2) * torch.arange(bins)).sum(2) if bins > 1 else logits[:, :, 0]
    offset = side.view(-1, 2, 2) * head.stride[:, None]
    decoded = torch.cat([head.centre - offset[:, 0], head.centre + offset[:, 1]], 1)
    owner = {}
    with torch.no_grad():
        iou = pairwise_iou(decoded, box)
        for t in range(len(box)):
            low, high = box[t, :2].clone(), box[t, 2:].clone()
            lack = (head.stride[0] - (high - low)).clamp(min=0) / 2
            inside = ((head.centre >= low - lack) & (head.centre <= high + lack)).all(1)
            align = head.cls[:, label[t]].sigmoid() ** 0.5 * iou[t] ** 6
            candidates = [p for p in range(len(iou[t])) if inside[p] and align[p] > 0]
            for i in lowest([-align[p].item() for p in candidates], 1 if case["one_to_one"] else 10):
                p = candidates[i]
                if p not in owner or iou[t, p] > iou[owner[p][0], p]:
                    owner[p] = (t, align[p].item())
        score = torch.zeros_like(head.cls)
        for t in range(len(box)):
            own = [p for p in owner if owner[p][0] == t]
            for p in own:
                most = max(owner[q][1] for q in own)
                score[p, label[t]] = owner[p][1] / most * max(iou[t, q].item() for q in own)
    total = 0.5 * bce(head.cls, score).sum()
    index = sorted(owner)
    if index:
        expected = box[[owner[p][0] for p in index]]
        weight = score[index].sum(1)
        total = total + 7.5 * (weight * (1 - ciou(decoded[index], expected))).sum()
        if bins > 1:
            near = (head.centre[index] - expected[:, :2]) / head.stride[index]
            far = (expected[:, 2:] - head.centre[index]) / head.stride[index]
            target = torch.cat([near, far], 1).clamp(0, bins - 1)
            left = target.floor().clamp(max=bins - 2).long()
            log = logits[index].log_softmax(2)
            pick = lambda at: log.gather(2, at[:, :, None])[:, :, 0]
            focal = -(pick(left) * (left + 1 - target) + pick(left + 1) * (target - left))
            total = total + 1.5 * (weight * focal.mean(1)).sum()
    return total


def anchors(case, head, box, label):
    """YOLOv5: ratios below 4, the cell and its two nearest neighbours."""
    s = head.box.sigmoid()
    centre = (2 * s[:, :2] - 0.5 + head.cell) * head.stride
    size = (2 * s[:, 2:]) ** 2 * head.anchor
    decoded = torch.cat([centre - size / 2, centre + size / 2], 1)
    owner = {}
    with torch.no_grad():
        iou = pairwise_iou(decoded, box)
        for t in range(len(box)):
            wanted = box[t, 2:] - box[t, :2]
            middle = (box[t, 2:] + box[t, :2]) / 2
            for p in range(len(decoded)):
                ratio = wanted / head.anchor[p]
                if torch.maximum(ratio, 1 / ratio).max() >= 4:
                    continue
                at = middle / head.stride[p]
                away = head.cell[p] - at.floor()
                beside = torch.where(at - at.floor() < 0.5, -1.0, 1.0)
                steps = away.abs().sum()
                if steps == 0 or (steps == 1 and (away * beside).sum() == 1):
                    if p not in owner or iou[t, p] > iou[owner[p], p]:
                        owner[p] = t
        target = torch.zeros_like(head.obj)
        for p, t in owner.items():
            target[p] = iou[t, p]
    levels = int(head.level.max()) + 1
    balance = torch.tensor([4.0, 1.0, 0.4])[:levels].double()
    objectness = bce(head.obj, target)
    mean = torch.stack([objectness[head.level == i].mean() for i in range(levels)])
    total = (balance / balance.sum() * mean).sum() * len(head.obj)
    index = sorted(owner)
    if index:
        expected = torch.tensor([owner[p] for p in index])
        total = total + 5 * (1 - ciou(decoded[index], box[expected])).sum()
        total = total + bce(head.cls[index], F.one_hot(label[expected], case["classes"]).double()).sum()
    return total


def offsets(case, head, box, label):
    """SimOTA, squared IoU."""
    centre = (head.box[:, :2] + head.cell) * head.stride
    size = head.box[:, 2:].exp() * head.stride
    decoded = torch.cat([centre - size / 2, centre + size / 2], 1)
    best = {}
    with torch.no_grad():
        iou = pairwise_iou(decoded, box)
        score = (head.cls.sigmoid() * head.obj.sigmoid()[:, None]).sqrt()
        for t in range(len(box)):
            middle = (box[t, :2] + box[t, 2:]) / 2
            in_box = ((head.centre >= box[t, :2]) & (head.centre <= box[t, 2:])).all(1)
            is_near = ((head.centre - middle).abs() <= 2.5 * head.stride).all(1)
            wanted = F.one_hot(label[t], case["classes"]).double().expand_as(score)
            cost = -torch.where(wanted > 0, score, 1 - score).clamp(min=1e-8).log().sum(1)
            cost = cost - 3 * (iou[t] + 1e-8).log() + 1e5 * ~(in_box & is_near)
            candidates = [p for p in range(len(cost)) if in_box[p] or is_near[p]]
            ious = sorted((iou[t, p].item() for p in candidates), reverse=True)
            for i in lowest([cost[p].item() for p in candidates], max(1, int(sum(ious[:10])))):
                p = candidates[i]
                if p not in best or cost[p] < best[p][1]:
                    best[p] = (t, cost[p].item())
        found = torch.zeros_like(head.obj)
        found[list(best)] = 1
    total = bce(head.obj, found).sum()
    index = sorted(best)
    if index:
        expected = torch.tensor([best[p][0] for p in index])
        overlap = elementwise_iou(decoded[index], box[expected])
        total = total + 5 * (1 - overlap**2).sum()
        one = F.one_hot(label[expected], case["classes"]).double()
        total = total + bce(head.cls[index], one * overlap.detach()[:, None]).sum()
    return total


def run(folder):
    with open(os.path.join(folder, "case.json")) as file:
        case = json.load(file)
    read = lambda i: np.fromfile(os.path.join(folder, f"raw{i}"), dtype=np.float32)
    raw = [torch.from_numpy(read(i).astype(np.float64)).requires_grad_() for i in range(case["outputs"])]
    box = torch.tensor(case["targets"], dtype=torch.float64).view(-1, 4)
    label = torch.tensor(case["labels"], dtype=torch.long)
    rule = {"distances": distances, "anchors": anchors, "offsets": offsets}[case["kind"]]
    loss = rule(case, Head(case, raw), box, label) / case["objects"]
    loss.backward()
    np.array([loss.item()]).tofile(os.path.join(folder, "loss"))
    for i, output in enumerate(raw):
        gradient = torch.zeros_like(output) if output.grad is None else output.grad
        gradient.numpy().tofile(os.path.join(folder, f"gradient{i}"))


if __name__ == "__main__":
    torch.set_num_threads(1)
    for each in sys.argv[1:]:
        run(each)
