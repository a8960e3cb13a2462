//! Data sets, pixels, heads and metrics, judged by OpenCV and pycocotools.
mod coco_forms;
mod dataset;
mod dataset_forms;
mod detector;
mod families;
mod frames;
mod images;
mod letterbox;
mod metrics;
mod nms;
mod pixels;
mod readings;
mod yuv;
mod yuv_accuracy;
