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

#[wasm_bindgen]
extern "C" {
    type MessageChannel;

    #[wasm_bindgen(constructor)]
    fn new() -> MessageChannel;

    #[wasm_bindgen(method, getter)]
    fn port1(this: &MessageChannel) -> MessagePort;

    #[wasm_bindgen(method, getter)]
    fn port2(this: &MessageChannel) -> MessagePort;

    type MessagePort;

    #[wasm_bindgen(method, setter, js_name = onmessage)]
    fn set_onmessage(this: &MessagePort, handler: &Function);

    #[wasm_bindgen(method, js_name = postMessage)]
    fn post_message(this: &MessagePort, message: &JsValue);

    #[wasm_bindgen(method)]
    fn close(this: &MessagePort);
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

/// Work of ours that nobody waits for gives the page its turn after so long.
pub const SLICE_NS: u64 = 4_000_000;

/// Lets the page do what is due. Not a timer: those of a page come at least 4 ms apart after a while, and once a
/// second or less often where nobody looks at it.
pub async fn turn() {
    let channel = MessageChannel::new();
    let (receiver, sender) = (channel.port1(), channel.port2());
    let message = js_sys::Promise::new(&mut |resolve, _| receiver.set_onmessage(&resolve));
    sender.post_message(&JsValue::NULL);
    let _ = wasm_bindgen_futures::JsFuture::from(message).await;
    receiver.close();
}

/// Gives the page its turn when a slice has been used up.
pub struct Slices {
    until_ns: u64,
}

impl Slices {
    /// The first begins now.
    pub fn new() -> Slices {
        Slices { until_ns: stopwatch_ns() + SLICE_NS }
    }

    /// Waits for our next slice if this one is over.
    pub async fn pause(&mut self) {
        if stopwatch_ns() >= self.until_ns {
            turn().await;
            *self = Slices::new();
        }
    }
}

/// Waits so many milliseconds.
pub async fn sleep(ms: u32) {
    let timer = js_sys::Promise::new(&mut |resolve, _| {
        set_timeout(&resolve, f64::from(ms));
    });
    let _ = wasm_bindgen_futures::JsFuture::from(timer).await;
}
