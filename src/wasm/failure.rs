//! What the browser refuses, in our words, and what stopped the engine.
//!
//! The world's errors come as JavaScript exceptions; here they get a kind that decides what is done about
//! them. A panic is a bug of ours: the module cannot be trusted afterwards, so everything stops.

use std::cell::RefCell;

use js_sys::{Error, Function, Reflect};
use wasm_bindgen::prelude::*;
use web_sys::DomException;

/// What is to be done about something that storage refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// No room left.
    Quota,
    /// The connection to the database is closed.
    Closed,
    /// Another page, worker or process has taken the database over.
    Lost,
    /// A later version wrote the database.
    Newer,
    /// What is stored is not what was written.
    Damaged,
    /// There is no IndexedDB here.
    Unavailable,
    /// A file to be imported is not what it should be.
    File,
    /// Anything else.
    Other,
}

/// Something that storage refused.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What is to be done about it.
    pub kind: FailureKind,
    /// In words.
    pub reason: String,
}

impl Failure {
    /// A failure in our own words.
    pub fn new(kind: FailureKind, reason: impl Into<String>) -> Failure {
        Failure { kind, reason: reason.into() }
    }

    /// The `Error` that rejects `open`. Its name is what callers tell failures apart by.
    pub fn into_error(self) -> JsValue {
        let error = Error::new(&self.reason);
        error.set_name(match self.kind {
            FailureKind::Newer => "NewerFormatError",
            FailureKind::Damaged => "DamagedDatabaseError",
            FailureKind::Lost => "DatabaseInUseError",
            FailureKind::File => "InvalidDumpError",
            _ => "StorageError",
        });
        error.into()
    }
}

impl From<Option<DomException>> for Failure {
    fn from(error: Option<DomException>) -> Failure {
        let Some(error) = error else { return Failure::new(FailureKind::Other, "the transaction was aborted") };
        let kind = match error.name().as_str() {
            "QuotaExceededError" => FailureKind::Quota,
            "InvalidStateError" | "AbortError" => FailureKind::Closed,
            "SecurityError" | "NotSupportedError" => FailureKind::Unavailable,
            "VersionError" => FailureKind::Newer,
            // The one thing that is added and not put: see `store::guard`.
            "ConstraintError" => {
                return Failure::new(FailureKind::Lost, "another page has taken the database over");
            }
            // Nobody has made it, or another program has: all four come with the database.
            "NotFoundError" => {
                let text =
                    "the database is damaged: an object store is missing; nothing was changed; delete it to begin anew";
                return Failure::new(FailureKind::Damaged, text);
            }
            _ => FailureKind::Other,
        };
        Failure::new(kind, format!("{}: {}", error.name(), error.message()))
    }
}

impl From<JsValue> for Failure {
    fn from(thrown: JsValue) -> Failure {
        match thrown.dyn_into::<DomException>() {
            Ok(exception) => Failure::from(Some(exception)),
            Err(thrown) => {
                let message = Reflect::get(&thrown, &"message".into()).ok().and_then(|message| message.as_string());
                Failure::new(FailureKind::Other, message.unwrap_or_else(|| "unknown error".to_owned()))
            }
        }
    }
}

thread_local! {
    static STOPPED: RefCell<Option<String>> = const { RefCell::new(None) };
    static LISTENERS: RefCell<Vec<Function>> = const { RefCell::new(Vec::new()) };
}

/// Calls `listener` with the reason when an engine of this module panics; it must not call the module then.
pub fn on_stop(listener: Function) {
    LISTENERS.with(|listeners| listeners.borrow_mut().push(listener));
}

/// Tells the console of a panic, and keeps it for those who ask.
pub fn set_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let text = info.to_string();
        web_sys::console::error_1(&format!("Haversack: the engine stopped: {text}").into());
        super::home::let_go();
        LISTENERS.with(|listeners| {
            for listener in listeners.try_borrow().iter().flat_map(|listeners| listeners.iter()) {
                let _ = listener.call1(&JsValue::NULL, &text.as_str().into());
            }
        });
        STOPPED.with(|stopped| {
            if let Ok(mut stopped) = stopped.try_borrow_mut() {
                *stopped = Some(text);
            }
        });
    }));
}

/// What stopped every engine of this module, if one has panicked.
pub fn stopped() -> Option<String> {
    STOPPED.with(|stopped| stopped.try_borrow().ok().and_then(|stopped| stopped.clone()))
}

/// Whether an engine of this module has panicked.
pub fn is_stopped() -> bool {
    STOPPED.with(|stopped| stopped.try_borrow().is_ok_and(|stopped| stopped.is_some()))
}
