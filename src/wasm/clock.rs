//! Times, timers and entropy of the page, worker or process around.
//!
//! Only globals that pages, workers and Node have under the same name.

use js_sys::Function;
use wasm_bindgen::prelude::*;

use crate::engine::time::{MonoTime, Now, WallTime};

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;

    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn date_now() -> f64;

    #[wasm_bindgen(js_namespace = crypto, js_name = getRandomValues)]
    fn random_values(bytes: &mut [u8]);

    /// Calls `callback` after so many milliseconds.
    #[wasm_bindgen(js_name = setTimeout)]
    pub fn set_timeout(callback: &Function, ms: f64) -> JsValue;

    /// Forgets a timer.
    #[wasm_bindgen(js_name = clearTimeout)]
    pub fn clear_timeout(timer: &JsValue);

    /// Calls `callback` once the code now running has come to its end.
    #[wasm_bindgen(js_name = queueMicrotask)]
    pub fn queue_microtask(callback: &Function);
}

/// The time on both clocks.
pub fn now() -> Now {
    Now { wall: WallTime { micros: (date_now() * 1000.0) as i64 }, mono: MonoTime { nanos: stopwatch_ns() } }
}

/// Nanoseconds since the page was opened; browsers round them to microseconds or worse.
pub fn stopwatch_ns() -> u64 {
    (performance_now() * 1e6) as u64
}

/// A number that nobody can guess.
pub fn seed() -> u64 {
    let mut bytes = [0; 8];
    random_values(&mut bytes);
    u64::from_le_bytes(bytes)
}

/// Waits so many milliseconds; 0 lets the page do what is due.
pub async fn sleep(ms: u32) {
    let timer = js_sys::Promise::new(&mut |resolve, _| {
        set_timeout(&resolve, f64::from(ms));
    });
    let _ = wasm_bindgen_futures::JsFuture::from(timer).await;
}
