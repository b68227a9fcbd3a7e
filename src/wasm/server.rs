//! What JavaScript sees: open a database, give and take the bytes of its connections.
//!
//! The other side of this agreement is `www/package/src/wasm/haversack.d.ts`. Errors that a caller can
//! meet reject a promise with a named `Error`; anything thrown means that the engine has stopped.

use std::rc::Rc;

use js_sys::{Function, Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;

use crate::engine::config::AppendFsync;

use super::export::Export;
use super::failure;
use super::home::Home;
use super::import::Import;
use super::open::{self, Damage, Options};
use super::status;

/// Runs when the module has been compiled.
#[wasm_bindgen(start)]
pub fn start() {
    failure::set_panic_hook();
}

/// Opens a database and starts its engine.
///
/// # Errors
/// An `Error` whose name says what is wrong: see `Failure::into_error`.
#[wasm_bindgen(js_name = openServer)]
pub async fn open(name: String, options: JsValue) -> Result<Server, JsValue> {
    let word = |name: &str| Reflect::get(&options, &name.into()).ok().and_then(|value| value.as_string());
    let policy = match word("appendfsync").as_deref() {
        Some("always") => AppendFsync::Always,
        Some("no") => AppendFsync::No,
        _ => AppendFsync::EverySec,
    };
    let damage = if word("damaged").as_deref() == Some("refuse") { Damage::Refuse } else { Damage::Quarantine };
    let stored = word("storage").as_deref() != Some("memory");
    let home = open::open(name, Options { stored, policy, damage }).await.map_err(|failure| failure.into_error())?;
    Ok(Server { home })
}

/// Who is called with the reason if the module panics. It must not call the module then.
#[wasm_bindgen]
pub fn onstop(callback: Function) {
    failure::on_stop(callback);
}

/// One engine and its storage. Connections are small numbers.
#[wasm_bindgen]
pub struct Server {
    home: Rc<Home>,
}

#[wasm_bindgen]
impl Server {
    /// A new connection; `undefined` once the server was shut down or closed.
    pub fn connect(&self) -> Option<u32> {
        self.home.enter(|state, now| state.connect(now)).flatten()
    }

    /// Gives bytes of a connection to the engine, which runs them.
    pub fn send(&self, connection: u32, bytes: &[u8]) {
        self.home.enter(|state, now| state.receive(now, connection, bytes));
    }

    /// The bytes ready for a connection, empty if there are none; `undefined` when it has ended, which frees its
    /// number.
    pub fn take(&self, connection: u32) -> Option<Uint8Array> {
        self.home.enter(|state, now| state.take(now, connection, Uint8Array::new_from_slice)).flatten()
    }

    /// Ends a connection.
    pub fn disconnect(&self, connection: u32) {
        self.home.enter(|state, now| state.disconnect(now, connection));
    }

    /// Who is called, on a later microtask, when a connection has bytes to take or has ended.
    pub fn onwake(&self, callback: Function) {
        self.home.enter(|state, _| state.set_wake(callback));
    }

    /// Who is called, on a later microtask, when [`status`](Self::status) has changed in more than its sizes.
    pub fn onstatus(&self, callback: Function) {
        self.home.enter(|state, _| state.set_watcher(callback));
    }

    /// Resolves when all writes so far are stored.
    pub fn flush(&self) -> Promise {
        flushed(&self.home)
    }

    /// Stores everything in a transaction that needs nothing of the page any more when this returns: for a page that is
    /// being hidden or left.
    pub fn hide(&self) {
        self.home.enter(|state, now| {
            if let Some(store) = &mut state.store {
                self.home.flush(store, now, true);
            }
        });
    }

    /// How the database is, as JSON.
    pub fn status(&self) -> String {
        if failure::is_stopped() {
            return status::ended();
        }
        self.home.look(status::text).unwrap_or_else(status::ended)
    }

    /// Begins to give all keys as the bytes of a `dump.rdb`.
    #[wasm_bindgen(js_name = beginExport)]
    pub fn begin_export(&self) -> Export {
        Export::new(self.home.clone())
    }

    /// Begins to take a `dump.rdb` over.
    #[wasm_bindgen(js_name = beginImport)]
    pub fn begin_import(&self) -> Option<Import> {
        self.home.look(|state| Import::new(self.home.clone(), state))
    }

    /// Stores everything, then closes the database and frees the engine.
    ///
    /// # Errors
    /// Something could not be stored. It is closed all the same.
    pub async fn close(&self) -> Result<(), JsValue> {
        let home = self.home.clone();
        home.enter(|state, _| state.stop_giving_way());
        self.hide();
        let flushed = self.flush();
        let result = JsFuture::from(flushed).await;
        home.end();
        result.map(|_| ())
    }
}

/// Resolves when all writes so far are stored.
pub fn flushed(home: &Rc<Home>) -> Promise {
    Promise::new(&mut |resolve, reject| {
        let waits = home.enter(|state, now| match &mut state.store {
            Some(store) => {
                store.wait(now, resolve.clone(), reject);
                true
            }
            None => false,
        });
        if waits != Some(true) {
            let _ = resolve.call0(&JsValue::NULL);
        }
    })
}
