/* detect MODEL IMAGE.ppm: prints a line `class score left top right bottom` for each object.
 *
 * cc detect.c -I ../include -L ../../../target/release -lyoloslim -o detect
 */
#include "yoloslim.h"

#include <stdio.h>
#include <stdlib.h>

enum { MAX_BOXES = 300 };

static uint8_t *read_ppm(const char *path, uint32_t *width, uint32_t *height) {
    FILE *file = fopen(path, "rb");
    uint8_t *data = NULL;
    unsigned w = 0, h = 0;
    if (file && fscanf(file, "P6 %u %u 255", &w, &h) == 2 && fgetc(file) != EOF && w && h && w <= 65536 && h <= 65536) {
        size_t bytes = (size_t)3 * w * h;
        data = malloc(bytes);
        if (data && fread(data, 1, bytes, file) != bytes) {
            free(data);
            data = NULL;
        }
    }
    if (file) {
        fclose(file);
    }
    *width = w;
    *height = h;
    return data;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: detect MODEL IMAGE.ppm\n");
        return 2;
    }
    uint32_t width, height;
    uint8_t *pixels = read_ppm(argv[2], &width, &height);
    if (!pixels) {
        fprintf(stderr, "%s: not a binary PPM of 8 bits\n", argv[2]);
        return 2;
    }
    yoloslim_detector *detector = yoloslim_load(argv[1], 0);
    if (!detector) {
        fprintf(stderr, "%s\n", yoloslim_last_error());
        free(pixels);
        return 2;
    }
    static yoloslim_box boxes[MAX_BOXES];
    size_t count = 0;
    yoloslim_status status = yoloslim_detect(detector, pixels, width, height, (size_t)3 * width, YOLOSLIM_RGB, 0.25f,
                                             0.7f, boxes, MAX_BOXES, &count);
    if (status != YOLOSLIM_OK) {
        fprintf(stderr, "%s\n", yoloslim_last_error());
    }
    for (size_t i = 0; i < count; i++) {
        const char *name = yoloslim_class_name(detector, boxes[i].class_index);
        printf("%s %.4f %.2f %.2f %.2f %.2f\n", name ? name : "?", boxes[i].score, boxes[i].left_px, boxes[i].top_px,
               boxes[i].right_px, boxes[i].bottom_px);
    }
    yoloslim_free(detector);
    free(pixels);
    return status == YOLOSLIM_OK ? 0 : 2;
}
