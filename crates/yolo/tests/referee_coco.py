"""COCO metrics by pycocotools: the referee of the evaluator.

    referee_coco.py json GROUND_TRUTH.json DETECTIONS.json     ground truth as COCO instances
    referee_coco.py yolo IMAGES_FOLDER DETECTIONS.json CLASSES  labels in ../../labels, image_id by file name

Prints {"stats": [12 figures], "per_class": [map_50_95 by category id]}, absent figures as -1.
"""
import contextlib
import io
import json
import os
import sys

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def yolo_ground_truth(folder, classes):
    import cv2

    images, annotations = [], []
    for image_id, name in enumerate(sorted(os.listdir(folder))):
        height, width = cv2.imread(os.path.join(folder, name)).shape[:2]
        images.append(dict(id=image_id, width=width, height=height))
        split = os.path.basename(folder)
        labels = os.path.join(folder, "..", "..", "labels", split, os.path.splitext(name)[0] + ".txt")
        if not os.path.exists(labels):
            continue
        for line in open(labels):
            category, x, y, w, h = map(float, line.split())
            box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
            annotations.append(
                dict(id=len(annotations) + 1, image_id=image_id, category_id=int(category), bbox=box, area=box[2] * box[3], iscrowd=0)
            )
    return dict(images=images, annotations=annotations, categories=[dict(id=i) for i in range(classes)])


def main():
    layout, truth, detections = sys.argv[1:4]
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = json.load(open(truth)) if layout == "json" else yolo_ground_truth(truth, int(sys.argv[4]))
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(json.load(open(detections))), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    precision = evaluation.eval["precision"][:, :, :, 0, 2]
    per_class = [float(np.mean(p)) if (p > -1).all() else -1.0 for p in precision.transpose(2, 0, 1)]
    print(json.dumps(dict(stats=[float(s) for s in evaluation.stats], per_class=per_class)))


main()
