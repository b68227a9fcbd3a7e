//! Opening: takes the database over, verifies the chain, loads it, and cuts off what does not hold.
//!
//! A torn last record is cut, with its transaction, before anything is written behind it. A bad record with
//! others behind it goes to quarantine with all of them, or stops the opening: the caller has said which.
//! A base that cannot be read, or a format of a later version, always stops it, with storage untouched.
//! Redis' counterpart: `loadDataFromDisk`.

use std::rc::Rc;

use js_sys::{Array, Uint8Array};
use wasm_bindgen::prelude::*;
use web_sys::{IdbDatabase, IdbKeyRange};

use crate::engine::Engine;
use crate::engine::config::{Allowed, AppendFsync, Config};
use crate::engine::host::{Host, Report};
use crate::engine::load::{LoadError, LoadKind};

use super::clock::{self, Slices};
use super::failure::{Failure, FailureKind};
use super::home::Home;
use super::idb::{self, Durability};
use super::record::{Chain, Fault, Manifest, ManifestFault};
use super::store::{MANIFEST, OWNER, RESTED, Store, ended};

/// Records of the log, and parts of the base, on their way at once: all of them take memory, and parts are large.
const BATCH: u32 = 32;
const BATCH_OF_PARTS: u32 = 4;

/// The engine loads so many bytes between two looks at the clock.
const STEP_BYTES: usize = 32 << 10;

/// Marks of so many earlier owners are kept.
const ENDED_KEPT: u64 = 8;

/// A log is rewritten once it is this large, and has doubled.
const REWRITE_BYTES: u64 = 4 << 20;

/// What the caller wants of a log that is damaged in its middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// Do not open it.
    Refuse,
    /// Put the rest aside and go on with what is good.
    Quarantine,
}

/// How a database is to be opened.
pub struct Options {
    /// Keep it in IndexedDB.
    pub stored: bool,
    /// When writes are stored.
    pub policy: AppendFsync,
    /// What a damaged log means.
    pub damage: Damage,
}

/// The name of the database in IndexedDB.
pub fn database_name(name: &str) -> String {
    format!("haversack:{name}")
}

/// Opens a database and starts its engine.
///
/// # Errors
/// It cannot be opened, or not without losing something.
pub async fn open(name: String, options: Options) -> Result<Rc<Home>, Failure> {
    if !options.stored {
        return Ok(Home::new(engine(None), None));
    }
    let (database, loss) = match idb::open(&database_name(&name)).await {
        Ok(opened) => opened,
        Err(failure) if failure.kind == FailureKind::Unavailable => {
            let home = Home::new(engine(None), None);
            home.enter(|state, _| state.unavailable = Some(failure.reason));
            return Ok(home);
        }
        Err(failure) => return Err(failure),
    };
    match load(&database, name, &options).await {
        Ok(home) => {
            if let Some(message) = loss {
                let text = format!("the browser found its storage damaged and emptied this database ({message})");
                web_sys::console::warn_1(&format!("Haversack: {text}").into());
                home.enter(|state, _| state.recovered = Some(text));
            }
            Ok(home)
        }
        Err(failure) => {
            database.close();
            Err(failure)
        }
    }
}

/// An engine without data, for a database that is stored, or in memory.
fn engine(policy: Option<AppendFsync>) -> Engine {
    let mut config = Config::default();
    (config.port, config.bind, config.auto_aof_rewrite_min_size) = (0, Vec::new(), REWRITE_BYTES);
    // There are no strangers here: whoever has a connection is code of the page, which can do anything anyway.
    config.enable_debug_command = Allowed::Local;
    match policy {
        Some(policy) => (config.appendonly, config.appendfsync) = (true, policy),
        None => config.save.0.clear(),
    }
    spare_engine(config)
}

/// An engine without data, under this configuration.
pub fn spare_engine(config: Config) -> Engine {
    let host = Host {
        stopwatch_ns: clock::stopwatch_ns,
        used_memory,
        monotonic_clock: "performance.now",
        multiplexing: "browser",
        allocator: "dlmalloc",
        os: "WebAssembly".into(),
        ..Host::default()
    };
    Engine::new(config, host, clock::seed(), clock::now())
}

fn used_memory() -> usize {
    #[cfg(target_arch = "wasm32")]
    return super::memory::used_bytes();
    #[cfg(not(target_arch = "wasm32"))]
    0
}

async fn load(database: &IdbDatabase, name: String, options: &Options) -> Result<Rc<Home>, Failure> {
    let (manifest, was_at_rest) = take_over(database).await?;
    if !was_at_rest && idb::is_leveldb() {
        settle_after_crash(database).await;
    }
    let mut engine = engine(Some(options.policy));
    engine.begin_load(clock::now(), 0);
    load_base(database, &manifest, &mut engine).await?;
    let mut log = Log { database, engine, chain: Chain::incr(&manifest), run: Vec::new(), report: None };
    log.load(options.damage).await?;
    let Log { mut engine, chain, report, .. } = log;
    clean_up(database, &manifest).await?;
    let now = clock::now();
    engine.end_load(now);
    engine.set_log_enabled(true);
    let base_bytes = manifest.base_bytes;
    let log_bytes = base_bytes + (chain.offset - manifest.first_offset);
    engine.report(now, Report::LogSize { bytes: log_bytes });
    let store = Store::new(name, database.clone(), options.policy, manifest, chain);
    let home = Home::new(engine, Some(store));
    home.watch_database(database);
    home.enter(|state, now| {
        state.recovered = report.clone();
        // The engine counts growth from here on; visits may be short, so what grew before counts too.
        if log_bytes > REWRITE_BYTES && log_bytes > 2 * base_bytes {
            state.engine.rewrite_log(now);
        }
    });
    if let Some(report) = report {
        web_sys::console::warn_1(&format!("Haversack: {report}").into());
    }
    Ok(home)
}

/// Reads the manifest, makes a new one if the database is new, and puts our number into it.
/// Also tells whether nothing was being stored when its last owner went.
async fn take_over(database: &IdbDatabase) -> Result<(Manifest, bool), Failure> {
    let transaction = idb::write(database, &[idb::META, idb::BASE, idb::INCR], Durability::Strict)?;
    let end = idb::end(&transaction);
    let meta = idb::store(&transaction, idb::META)?;
    let stored = idb::result(&meta.get(&MANIFEST.into())?).await?;
    let owner = idb::result(&meta.get(&OWNER.into())?).await?.as_f64().unwrap_or(0.0);
    let rested = idb::result(&meta.get(&RESTED.into())?).await?;
    let was_at_rest = stored.is_undefined() || !rested.is_undefined();
    let mut manifest = if stored.is_undefined() {
        let parts = idb::result(&idb::store(&transaction, idb::BASE)?.count()?).await?;
        let pieces = idb::result(&idb::store(&transaction, idb::INCR)?.count()?).await?;
        if parts.as_f64() != Some(0.0) || pieces.as_f64() != Some(0.0) {
            return Err(damaged("its manifest is missing"));
        }
        let fresh = Manifest::fresh(clock::now().wall.ms());
        meta.put_with_key(&Uint8Array::new_from_slice(&fresh.to_bytes()), &MANIFEST.into())?;
        fresh
    } else {
        Manifest::from_bytes(&idb::bytes(&stored)).map_err(|fault| match fault {
            ManifestFault::Newer { format } => newer(format),
            ManifestFault::Damaged => damaged("its manifest is not what was written"),
        })?
    };
    manifest.epoch = owner as u64 + 1;
    meta.put_with_key(&(manifest.epoch as f64).into(), &OWNER.into())?;
    meta.delete(&RESTED.into())?;
    // The owner before, should it still be there after all, fails from here on; those long before it are gone.
    let long_gone = IdbKeyRange::bound(&ended(0), &ended((owner as u64).saturating_sub(ENDED_KEPT)))?;
    meta.delete(&long_gone)?;
    if owner > 0.0 {
        meta.put_with_key(&JsValue::TRUE, &ended(owner as u64))?;
    }
    idb::commit(&transaction)?;
    end.await?;
    Ok((manifest, was_at_rest))
}

/// Makes LevelDB, on which Chromium's IndexedDB lies, begin a new log file; its memory table is that large.
///
/// A browser that is killed while it writes can leave a torn record at the end of LevelDB's log. The next one passes
/// it over and appends to the same file; then the torn record is in the middle, which the one after takes for
/// corruption, and it deletes every database of the site. Filling a memory table once ends that file: it is
/// deleted as soon as its table is written. Nobody ever sees the filler, which goes in the transaction it comes in.
async fn settle_after_crash(database: &IdbDatabase) {
    // Larger values would not lie in LevelDB but in files of their own.
    const VALUE_BYTES: u32 = 60_000;
    const VALUES: u32 = 80;
    let fill = || -> Result<_, Failure> {
        let transaction = idb::write(database, &[idb::META], Durability::Relaxed)?;
        let end = idb::end(&transaction);
        let meta = idb::store(&transaction, idb::META)?;
        let filler = Uint8Array::new_with_length(VALUE_BYTES);
        let key = |number: u32| -> JsValue { js_sys::Array::of2(&"filler".into(), &number.into()).into() };
        for number in 0..VALUES {
            meta.put_with_key(&filler, &key(number))?;
        }
        let all = IdbKeyRange::bound(&key(0), &key(VALUES))?;
        meta.delete(&all)?;
        idb::commit(&transaction)?;
        Ok(end)
    };
    // Without room for it there is nothing to be done, and nothing worse than before.
    if let Ok(end) = fill() {
        let _ = end.await;
    }
}

fn newer(format: u16) -> Failure {
    let text = format!("a later version of Haversack wrote this database (format {format}): update this page");
    Failure::new(FailureKind::Newer, text)
}

fn damaged(what: &str) -> Failure {
    Failure::new(FailureKind::Damaged, format!("the database is damaged: {what}; nothing was changed"))
}

/// Loads the snapshot that the log builds upon.
async fn load_base(database: &IdbDatabase, manifest: &Manifest, engine: &mut Engine) -> Result<(), Failure> {
    if manifest.base_parts == 0 {
        return Ok(());
    }
    let mut chain = Chain::base(manifest.generation);
    let mut slices = Slices::new();
    engine.begin_file(LoadKind::Log);
    let mut range = idb::of_generation(manifest.generation)?;
    while chain.sequence < manifest.base_parts {
        let records = fetch(database, idb::BASE, &range, BATCH_OF_PARTS).await?;
        let Some((last, _)) = records.last() else { return Err(damaged("parts of its base are missing")) };
        range = idb::from_key(last, true)?;
        for (key, record) in records.into_iter().take((manifest.base_parts - chain.sequence) as usize) {
            let Some((generation, part)) = idb::split_key(&key) else {
                return Err(damaged("a key of its base is none"));
            };
            let record = idb::bytes(&record.await?);
            let payload = chain.verify(generation, part, &record).map_err(|fault| match fault {
                Fault::Newer { format } => newer(format),
                fault => damaged(&format!("part {part} of its base: {fault}")),
            })?;
            for step in payload.chunks(STEP_BYTES) {
                engine.load(clock::now(), step).map_err(|error| damaged(&format!("its base: {error}")))?;
                slices.pause().await;
            }
        }
    }
    if chain.previous != manifest.base_checksum || chain.offset != manifest.base_bytes {
        return Err(damaged("its base is not the one that its manifest names"));
    }
    engine.end_file().map_err(|error| damaged(&format!("its base: {error}")))
}

/// The next keys of a range, and their records, which come one by one: the page cannot go on while one is handed over,
/// but between two of them.
async fn fetch(
    database: &IdbDatabase,
    store: &str,
    range: &JsValue,
    batch: u32,
) -> Result<Vec<(JsValue, impl Future<Output = Result<JsValue, Failure>> + use<>)>, Failure> {
    let transaction = idb::read(database, &[store])?;
    let store = idb::store(&transaction, store)?;
    let keys = idb::result(&store.get_all_keys_with_key_and_limit(range, batch)?).await?;
    let keys: Array = keys.unchecked_into();
    keys.iter().map(|key| store.get(&key).map(|record| (key, idb::result(&record))).map_err(Failure::from)).collect()
}

/// Where a record of the run that is being loaded lies.
struct Place {
    generation: u64,
    sequence: u64,
    /// The chain before it.
    before: Chain,
}

/// The log, while it is loaded. A *run* is what was written in one generation: it begins with a whole unit.
struct Log<'d> {
    database: &'d IdbDatabase,
    engine: Engine,
    chain: Chain,
    run: Vec<Place>,
    report: Option<String>,
}

impl Log<'_> {
    async fn load(&mut self, damage: Damage) -> Result<(), Failure> {
        let mut range = idb::from_generation(self.chain.generation)?;
        let mut slices = Slices::new();
        self.engine.begin_file(LoadKind::Log);
        loop {
            let records = fetch(self.database, idb::INCR, &range, BATCH).await?;
            let Some((last, _)) = records.last() else { break };
            range = idb::from_key(last, true)?;
            for (key, record) in records {
                if let Err(fault) = self.take(&key, &idb::bytes(&record.await?), &mut slices).await? {
                    return self.cut(&key, &fault, damage).await;
                }
            }
        }
        self.end_run().await
    }

    /// Takes the next record; the inner error says why it does not belong here.
    async fn take(&mut self, key: &JsValue, record: &[u8], slices: &mut Slices) -> Result<Result<(), Fault>, Failure> {
        let Some((generation, sequence)) = idb::split_key(key) else { return Ok(Err(Fault::Foreign)) };
        let before = self.chain.clone();
        let payload = match self.chain.verify(generation, sequence, record) {
            Ok(payload) => payload,
            Err(Fault::Newer { format }) => return Err(newer(format)),
            Err(fault) => return Ok(Err(fault)),
        };
        if generation != before.generation && !self.run.is_empty() {
            self.engine.end_file().map_err(|error| damaged(&format!("its log: {error}")))?;
            self.engine.begin_file(LoadKind::Log);
            self.run.clear();
        }
        self.run.push(Place { generation, sequence, before });
        for step in payload.chunks(STEP_BYTES) {
            self.engine.load(clock::now(), step).map_err(|error| damaged(&format!("its log: {error}")))?;
            slices.pause().await;
        }
        Ok(Ok(()))
    }

    /// Ends at a record that does not hold: what comes from there on is put aside, or cut if it is the last.
    async fn cut(&mut self, key: &JsValue, fault: &Fault, damage: Damage) -> Result<(), Failure> {
        let from = idb::from_key(key, false)?;
        let count = {
            let transaction = idb::read(self.database, &[idb::INCR])?;
            idb::result(&idb::store(&transaction, idb::INCR)?.count_with_key(&from)?).await?.as_f64().unwrap_or(0.0)
        };
        let place = format!("record {} of the log: {fault}", self.chain.sequence);
        let is_torn = count <= 1.0 && !matches!(fault, Fault::Gap { .. });
        if !is_torn && damage == Damage::Refuse {
            return Err(damaged(&format!("{place}; {count} records from there on are not usable")));
        }
        let report = match is_torn {
            true => format!("the last record was torn and has been cut off ({place})"),
            false => format!("{count} records were put into quarantine, from {place}"),
        };
        let transaction = idb::write(self.database, &[idb::INCR, idb::QUARANTINE], Durability::Strict)?;
        let end = idb::end(&transaction);
        let incr = idb::store(&transaction, idb::INCR)?;
        if !is_torn {
            let keys: Array = idb::result(&incr.get_all_keys_with_key(&from)?).await?.unchecked_into();
            let quarantine = idb::store(&transaction, idb::QUARANTINE)?;
            for key in keys.iter() {
                let value = idb::result(&incr.get(&key)?).await?;
                quarantine.put_with_key(&value, &key)?;
            }
        }
        incr.delete(&from)?;
        idb::commit(&transaction)?;
        end.await?;
        self.report = Some(report);
        self.end_run().await
    }

    /// The log ends here. If it ends within a unit, the unit is cut off too.
    async fn end_run(&mut self) -> Result<(), Failure> {
        let valid = match self.engine.end_file() {
            Ok(()) => return Ok(()),
            Err(LoadError::Truncated { valid }) => valid,
            Err(error) => return Err(damaged(&format!("its log: {error}"))),
        };
        let Some(first) = self.run.first() else { return Ok(()) };
        let valid = first.before.offset + valid;
        let Some(at) = self.run.iter().rposition(|place| place.before.offset <= valid) else { return Ok(()) };
        let Place { generation, sequence, before } = &self.run[at];
        let cut = self.chain.offset - valid;
        let transaction = idb::write(self.database, &[idb::INCR], Durability::Strict)?;
        let end = idb::end(&transaction);
        let incr = idb::store(&transaction, idb::INCR)?;
        let key = idb::key(*generation, *sequence);
        let record = idb::bytes(&idb::result(&incr.get(&key)?).await?);
        let keep = (valid - before.offset) as usize;
        let mut chain = before.clone();
        incr.delete(&idb::from_key(&key, false)?)?;
        if keep > 0 {
            let payload = chain.clone().verify(*generation, *sequence, &record).map_err(|_| damaged("it changes"))?;
            let payload = payload[..keep].to_vec();
            chain.generation = *generation;
            let shorter = chain.seal(&payload);
            incr.put_with_key(&Uint8Array::new_from_slice(&shorter), &key)?;
        }
        idb::commit(&transaction)?;
        end.await?;
        self.chain = chain;
        let text = format!("{cut} bytes of an unfinished command at the end of the log were cut off");
        self.report = Some(self.report.take().map_or(text.clone(), |report| format!("{report}; {text}")));
        Ok(())
    }
}

/// Deletes what rewrites have left behind that ended halfway.
async fn clean_up(database: &IdbDatabase, manifest: &Manifest) -> Result<(), Failure> {
    let transaction = idb::write(database, &[idb::BASE, idb::INCR], Durability::Relaxed)?;
    let end = idb::end(&transaction);
    let before = idb::before_generation(manifest.generation)?;
    let base = idb::store(&transaction, idb::BASE)?;
    base.delete(&before)?;
    base.delete(&idb::from_generation(manifest.generation + 1)?)?;
    if manifest.base_parts == 0 {
        base.clear()?;
    }
    idb::store(&transaction, idb::INCR)?.delete(&before)?;
    idb::commit(&transaction)?;
    end.await
}
