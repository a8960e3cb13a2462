"""OpenCV as the referee of decoded pixels.

python referee_pixels.py FOLDER FILE...: writes images of many kinds into FOLDER, reads them, what was there and the
FILEs with OpenCV, writes the pixels as RGB bytes beside, and prints a line for each: path of the pixels, tab, path of
the image. Kinds that this OpenCV does not write are left out.
"""

import os
import sys

import cv2
import numpy as np

SAMPLINGS = ["411", "420", "422", "440", "444"]


def scene(width, height):
    """Smooth colours with a few hard edges, the same every time."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    planes = [128 + 120 * np.sin(x / (5 + 3 * i) + y / (9 - 2 * i)) for i in range(3)]
    image = np.stack(planes, axis=-1)
    image[(x + 2 * y) % 23 < 4] = (250, 30, 10)
    return image.clip(0, 255).astype(np.uint8)


def write_all(folder):
    for sampling in SAMPLINGS:
        factor = getattr(cv2, "IMWRITE_JPEG_SAMPLING_FACTOR_" + sampling)
        for width, height in [(64, 48), (61, 37), (17, 31), (3, 2)]:
            for progressive in (0, 1):
                flags = [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive]
                if width == 61:
                    flags += [cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
                name = f"{sampling}_{width}x{height}_{progressive}.jpg"
                cv2.imwrite(os.path.join(folder, name), scene(width, height), flags)
    image = scene(40, 30)
    deep = image.astype(np.uint16) * 257 + 99
    gray, alpha = image[:, :, 0], np.dstack([image, image[:, :, 1]])
    kinds = {"gray.jpg": gray, "gray.png": gray, "gray.tif": gray, "gray.webp": gray, "gray.bmp": gray, "gray.pgm": gray}
    kinds |= {"rgb.png": image, "rgb.tif": image, "rgb.webp": image, "rgb.bmp": image, "rgb.ppm": image}
    kinds |= {"deep.png": deep, "deep.tif": deep, "deep_gray.png": deep[:, :, 0], "deep_gray.tif": deep[:, :, 0]}
    kinds |= {"alpha.png": alpha, "alpha.webp": alpha}
    for name, pixels in kinds.items():
        try:
            cv2.imwrite(os.path.join(folder, name), pixels)
        except cv2.error:
            pass


def main():
    folder, files = sys.argv[1], sys.argv[2:]
    write_all(folder)
    files = sorted(os.path.join(folder, name) for name in os.listdir(folder)) + files
    for index, file in enumerate(files):
        pixels = os.path.join(folder, f"{index}.rgb")
        with open(pixels, "wb") as out:
            out.write(np.ascontiguousarray(cv2.imread(file)[:, :, ::-1]).tobytes())
        print(f"{pixels}\t{file}")


main()
