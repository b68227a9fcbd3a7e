//! IndexedDB as promises and a few verbs. It knows the four object stores, and nothing of what is in them.
//!
//! The database's own version is 1 forever: our format's version stands in the manifest, so pages with
//! different versions of Haversack never meet in `versionchange`. Handlers are the resolve and reject
//! functions of promises, so no closure outlives its request.

use std::cell::RefCell;
use std::rc::Rc;

use js_sys::{Array, Function, Object, Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{IdbDatabase, IdbFactory, IdbKeyRange, IdbObjectStore, IdbOpenDbRequest, IdbRequest, IdbTransaction};

use super::failure::{Failure, FailureKind};

/// Manifest and owner.
pub const META: &str = "meta";
/// Parts of bases: `[generation, part]`.
pub const BASE: &str = "base";
/// Pieces of the log: `[generation, sequence]`.
pub const INCR: &str = "incr";
/// Records that did not fit: `[key in incr, owner]`, by the owner that put them here; `[generation, sequence]` in earlier
/// versions.
pub const QUARANTINE: &str = "quarantine";

/// When a transaction counts as complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Once the system has taken it.
    Relaxed,
    /// Once it is on the device.
    Strict,
}

#[wasm_bindgen]
extern "C" {
    /// An `IDBDatabase`, for the form of `transaction` that takes options.
    #[wasm_bindgen(js_name = IDBDatabase)]
    type Database;

    #[wasm_bindgen(method, catch, js_name = transaction)]
    fn begin(this: &Database, stores: &Array, mode: &str, options: &Object) -> Result<IdbTransaction, JsValue>;

    /// An `IDBTransaction`, for `commit`.
    #[wasm_bindgen(js_name = IDBTransaction)]
    type Transaction;

    #[wasm_bindgen(method, catch)]
    fn commit(this: &Transaction) -> Result<(), JsValue>;
}

/// Opens the database, making it if it is not there; tells if it is not there because the browser found it damaged.
///
/// # Errors
/// The browser has no IndexedDB, or refuses it.
pub async fn open(name: &str) -> Result<(IdbDatabase, Option<String>), Failure> {
    let unavailable = || Failure::new(FailureKind::Unavailable, "this browser has no IndexedDB here");
    let factory = Reflect::get(&js_sys::global(), &"indexedDB".into()).unwrap_or(JsValue::UNDEFINED);
    if !factory.is_object() {
        return Err(unavailable());
    }
    let factory: IdbFactory = factory.unchecked_into();
    let request = factory
        .open_with_u32(name, 1)
        .map_err(|error| Failure { kind: FailureKind::Unavailable, ..Failure::from(error) })?;
    let loss = Rc::new(RefCell::new(None));
    let told = loss.clone();
    let upgrade = Closure::<dyn FnMut(web_sys::Event)>::new(move |event: web_sys::Event| {
        make_stores(&event);
        told.replace(data_loss(&event));
    });
    request.set_onupgradeneeded(Some(upgrade.as_ref().unchecked_ref()));
    let database = result(&request).await;
    request.set_onupgradeneeded(None);
    match database {
        Ok(database) => Ok((database.unchecked_into(), loss.take())),
        // Firefox in a private window, where it has no IndexedDB.
        Err(error) if error.reason.starts_with("InvalidStateError") => Err(unavailable()),
        Err(error) => Err(error),
    }
}

/// What Chromium says when it has thrown a database away, because its own files were damaged.
fn data_loss(event: &web_sys::Event) -> Option<String> {
    let word = |name: &str| Reflect::get(event, &name.into()).ok().and_then(|value| value.as_string());
    (word("dataLoss")? != "none").then(|| word("dataLossMessage").unwrap_or_default())
}

/// Whether IndexedDB lies on LevelDB here. Only Chromium's does, and only there upgrades tell of losses.
pub fn is_leveldb() -> bool {
    let event = Reflect::get(&js_sys::global(), &"IDBVersionChangeEvent".into());
    let prototype = event.and_then(|event| Reflect::get(&event, &"prototype".into()));
    prototype.is_ok_and(|prototype| Reflect::has(&prototype, &"dataLoss".into()).unwrap_or(false))
}

fn make_stores(event: &web_sys::Event) {
    let Some(request) = event.target() else { return };
    let request: IdbOpenDbRequest = request.unchecked_into();
    let Ok(database) = request.result() else { return };
    let database: IdbDatabase = database.unchecked_into();
    for name in [META, BASE, INCR, QUARANTINE] {
        // It fails only if the store is there, which cannot be in version 0.
        let _ = database.create_object_store(name);
    }
}

/// Begins a transaction that reads.
///
/// # Errors
/// The database is closed.
pub fn read(database: &IdbDatabase, stores: &[&str]) -> Result<IdbTransaction, Failure> {
    begin(database, stores, "readonly", Durability::Relaxed)
}

/// Begins a transaction that reads and writes.
///
/// # Errors
/// The database is closed.
pub fn write(database: &IdbDatabase, stores: &[&str], durability: Durability) -> Result<IdbTransaction, Failure> {
    begin(database, stores, "readwrite", durability)
}

fn begin(
    database: &IdbDatabase,
    stores: &[&str],
    mode: &str,
    durability: Durability,
) -> Result<IdbTransaction, Failure> {
    let stores: Array = stores.iter().map(|name| JsValue::from_str(name)).collect();
    let options = Object::new();
    let word = if durability == Durability::Strict { "strict" } else { "relaxed" };
    let _ = Reflect::set(&options, &"durability".into(), &word.into());
    Ok(database.unchecked_ref::<Database>().begin(&stores, mode, &options)?)
}

/// Lets a transaction complete without waiting for the callbacks of its requests.
///
/// # Errors
/// It has ended.
pub fn commit(transaction: &IdbTransaction) -> Result<(), Failure> {
    Ok(transaction.unchecked_ref::<Transaction>().commit()?)
}

/// One of a transaction's object stores.
///
/// # Errors
/// The transaction has ended.
pub fn store(transaction: &IdbTransaction, name: &str) -> Result<IdbObjectStore, Failure> {
    Ok(transaction.object_store(name)?)
}

/// What a request brings. Call it before the request can end: the promise listens from here on.
///
/// # Errors
/// It failed; so will its transaction.
pub fn result(request: &IdbRequest) -> impl Future<Output = Result<JsValue, Failure>> + use<> {
    let promise = Promise::new(&mut |resolve: Function, reject: Function| {
        request.set_onsuccess(Some(&resolve));
        request.set_onerror(Some(&reject));
    });
    let request = request.clone();
    let result = JsFuture::from(promise);
    async move {
        match result.await {
            Ok(_) => Ok(request.result()?),
            Err(_) => Err(Failure::from(request.error().ok().flatten())),
        }
    }
}

/// The end of a transaction. Call it before its requests can end: the promise listens from here on.
pub fn end(transaction: &IdbTransaction) -> impl Future<Output = Result<(), Failure>> + use<> {
    let promise = Promise::new(&mut |resolve: Function, reject: Function| {
        transaction.set_oncomplete(Some(&resolve));
        transaction.set_onabort(Some(&reject));
    });
    let transaction = transaction.clone();
    // From here on somebody listens, even if the future is dropped: an abort is never an unhandled rejection.
    let end = JsFuture::from(promise);
    async move {
        match end.await {
            Ok(_) => Ok(()),
            Err(_) => Err(Failure::from(transaction.error())),
        }
    }
}

/// The key of a chunk.
pub fn key(generation: u64, sequence: u64) -> JsValue {
    Array::of2(&(generation as f64).into(), &(sequence as f64).into()).into()
}

/// Generation and sequence of a key.
pub fn split_key(key: &JsValue) -> Option<(u64, u64)> {
    let pair = key.dyn_ref::<Array>()?;
    Some((pair.get(0).as_f64()? as u64, pair.get(1).as_f64()? as u64))
}

fn generation_key(generation: u64) -> JsValue {
    Array::of1(&(generation as f64).into()).into()
}

/// All keys of a generation and of later ones.
pub fn from_generation(generation: u64) -> Result<JsValue, Failure> {
    Ok(IdbKeyRange::lower_bound(&generation_key(generation))?.into())
}

/// All keys of generations before this one.
pub fn before_generation(generation: u64) -> Result<JsValue, Failure> {
    Ok(IdbKeyRange::upper_bound_with_open(&generation_key(generation), true)?.into())
}

/// All keys of one generation.
pub fn of_generation(generation: u64) -> Result<JsValue, Failure> {
    Ok(IdbKeyRange::bound(&generation_key(generation), &generation_key(generation + 1))?.into())
}

/// All keys from this one on, or only those after it.
pub fn from_key(key: &JsValue, after: bool) -> Result<JsValue, Failure> {
    Ok(IdbKeyRange::lower_bound_with_open(key, after)?.into())
}

/// The bytes of a stored record; nothing if it is no bytes.
pub fn bytes(value: &JsValue) -> Vec<u8> {
    value.dyn_ref::<Uint8Array>().map(Uint8Array::to_vec).unwrap_or_default()
}
