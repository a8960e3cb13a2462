//! The functions that C calls.
use crate::detector::{CapiError, Frame, Loaded, Pixels};
use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use yoloslim::Thresholds;

const OK: u32 = 0;
const BAD_ARGUMENT: u32 = 1;
const FAILED: u32 = 2;

thread_local! {
    static LAST_ERROR: RefCell<CString> = RefCell::default();
}

/// `yoloslim_box` of the header.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct YoloslimBox {
    pub(crate) left_px: f32,
    pub(crate) top_px: f32,
    pub(crate) right_px: f32,
    pub(crate) bottom_px: f32,
    pub(crate) score: f32,
    pub(crate) class_index: u32,
}

fn null(argument: &'static str) -> CapiError {
    CapiError::Argument { argument, expected: "a pointer", found: "NULL".into() }
}

/// Runs `f`, keeps its error for `yoloslim_last_error`, and lets no panic into C.
fn guarded<T>(f: impl FnOnce() -> Result<T, CapiError>) -> Result<T, u32> {
    let result = catch_unwind(AssertUnwindSafe(f))
        .unwrap_or_else(|panic| Err(CapiError::Panic { message: message(panic.as_ref()) }));
    result.map_err(|error| {
        let text = error.to_string().replace('\0', "");
        LAST_ERROR.set(CString::new(text).unwrap_or_default());
        match error {
            CapiError::Argument { .. } => BAD_ARGUMENT,
            _ => FAILED,
        }
    })
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}

/// `yoloslim_load` of the header.
///
/// # Safety
/// `path` is null or ends in a zero byte.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn yoloslim_load(path: *const c_char, threads: u32) -> *mut Loaded {
    let loaded = guarded(|| {
        if path.is_null() {
            return Err(null("path"));
        }
        // SAFETY: the caller's.
        let path = unsafe { CStr::from_ptr(path) };
        let path = path.to_str().map_err(|_| CapiError::Argument {
            argument: "path",
            expected: "UTF-8",
            found: path.to_string_lossy().into_owned(),
        })?;
        Loaded::load(Path::new(path), threads as usize)
    });
    loaded.map_or(std::ptr::null_mut(), |l| Box::into_raw(Box::new(l)))
}

/// `yoloslim_free` of the header.
///
/// # Safety
/// `detector` is null or comes from `yoloslim_load` and is not used again.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn yoloslim_free(detector: *mut Loaded) {
    if !detector.is_null() {
        // SAFETY: the caller's.
        let detector = unsafe { Box::from_raw(detector) };
        let _ = guarded(|| {
            drop(detector);
            Ok(())
        });
    }
}

/// `yoloslim_class_count` of the header.
///
/// # Safety
/// `detector` is null or comes from `yoloslim_load`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn yoloslim_class_count(detector: *const Loaded) -> usize {
    // SAFETY: the caller's.
    unsafe { detector.as_ref() }.map_or(0, Loaded::classes)
}

/// `yoloslim_class_name` of the header.
///
/// # Safety
/// `detector` is null or comes from `yoloslim_load`.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn yoloslim_class_name(
    detector: *const Loaded,
    class_index: usize,
) -> *const c_char {
    // SAFETY: the caller's.
    let name = unsafe { detector.as_ref() }.and_then(|d| d.name(class_index));
    name.map_or(std::ptr::null(), |n| n.as_ptr())
}

/// `yoloslim_detect` of the header.
///
/// # Safety
/// Pointers are null or what the header asks for: `data` holds the frame, `boxes` has room for `capacity` boxes.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments)] // C has no slices
pub(crate) unsafe extern "C" fn yoloslim_detect(
    detector: *mut Loaded,
    data: *const u8,
    width: u32,
    height: u32,
    stride_bytes: usize,
    pixels: u32,
    conf: f32,
    iou: f32,
    boxes: *mut YoloslimBox,
    capacity: usize,
    count: *mut usize,
) -> u32 {
    let done = guarded(|| {
        // SAFETY: the caller's.
        let count = unsafe { count.as_mut() }.ok_or_else(|| null("count"))?;
        *count = 0;
        // SAFETY: the caller's.
        let detector = unsafe { detector.as_mut() }.ok_or_else(|| null("detector"))?;
        if data.is_null() {
            return Err(null("data"));
        }
        if boxes.is_null() && capacity > 0 {
            return Err(null("boxes"));
        }
        let frame = Frame {
            width_px: width,
            height_px: height,
            stride_bytes,
            pixels: Pixels::from_c(pixels)?,
        };
        // SAFETY: the caller's: `data` holds the frame, whose size has been checked.
        let data = unsafe { std::slice::from_raw_parts(data, frame.bytes()?) };
        let found = detector.detect(data, frame, Thresholds { conf, iou })?;
        for (i, d) in found.iter().take(capacity).enumerate() {
            let value = YoloslimBox {
                left_px: d.bbox.left,
                top_px: d.bbox.top,
                right_px: d.bbox.right,
                bottom_px: d.bbox.bottom,
                score: d.score,
                class_index: d.class as u32,
            };
            // SAFETY: the caller's: there is room for `capacity` boxes.
            unsafe { boxes.add(i).write(value) };
        }
        *count = found.len().min(capacity);
        Ok(())
    });
    done.map_or_else(|status| status, |()| OK)
}

/// `yoloslim_last_error` of the header.
#[unsafe(no_mangle)]
pub(crate) extern "C" fn yoloslim_last_error() -> *const c_char {
    LAST_ERROR.with_borrow(|error| error.as_ptr())
}
