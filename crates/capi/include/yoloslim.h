/* yoloslim: a YOLO detector in a process of C or C++.
 *
 * A detector belongs to one thread at a time; several detectors may run at once. Functions that fail return NULL or a
 * status other than YOLOSLIM_OK, and yoloslim_last_error() then says why, in English, for the calling thread.
 */
#ifndef YOLOSLIM_H
#define YOLOSLIM_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct yoloslim_detector yoloslim_detector;

typedef enum yoloslim_status {
    YOLOSLIM_OK = 0,
    /* An argument is NULL, not a number, or out of range. */
    YOLOSLIM_BAD_ARGUMENT = 1,
    /* The engine refused. */
    YOLOSLIM_FAILED = 2
} yoloslim_status;

/* Order of the bytes of a pixel. */
typedef enum yoloslim_pixels {
    YOLOSLIM_RGB = 0,
    YOLOSLIM_BGR = 1,
    YOLOSLIM_GRAY = 2
} yoloslim_pixels;

/* Edges in pixels of the image, x to the right, y down. */
typedef struct yoloslim_box {
    float left_px, top_px, right_px, bottom_px;
    /* Confidence in 0..1. */
    float score;
    uint32_t class_index;
} yoloslim_box;

/* Reads an ONNX model and compiles it for this CPU. `threads` (at most 1024) share the work of an image; 0 means all cores.
 * Free the detector with yoloslim_free. NULL on error. */
yoloslim_detector *yoloslim_load(const char *path, uint32_t threads);

void yoloslim_free(yoloslim_detector *detector);

/* Number of classes; 0 for NULL. */
size_t yoloslim_class_count(const yoloslim_detector *detector);

/* Name of a class, or NULL where the model carries none. Valid as long as the detector. */
const char *yoloslim_class_name(const yoloslim_detector *detector, size_t class_index);

/* Finds objects in `height` rows of `width` pixels, rows `stride_bytes` apart: at most `capacity` boxes, best first,
 * into `boxes`, and their number into `count`. Boxes below the confidence `conf` are left out; of two boxes of one class
 * that overlap by more than `iou`, the better one stays. A threshold below 0 is the one that the tools of the model's
 * family use (YOLOv5: 0.25 and 0.45; YOLOv8 and later: 0.25 and 0.7; YOLOX: 0.3 and 0.45). */
yoloslim_status yoloslim_detect(yoloslim_detector *detector, const uint8_t *data, uint32_t width, uint32_t height,
                                size_t stride_bytes, yoloslim_pixels pixels, float conf, float iou,
                                yoloslim_box *boxes, size_t capacity, size_t *count);

/* Why the last function that failed in this thread did; "" when none did. Valid until the next call in this thread. */
const char *yoloslim_last_error(void);

#ifdef __cplusplus
}
#endif

#endif
