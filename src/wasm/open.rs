//! Opening: takes the database over, verifies the chain, loads it, and cuts off what does not hold.
//!
//! A last record that is cut short is cut off, with its transaction, before anything is written behind it. Any other
//! bad record goes to quarantine with all behind it, or stops the opening: the caller has said which. The same if
//! the log is shorter than it was.
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
use super::record::{self, Chain, Fault, Manifest, ManifestFault};
use super::store::{END, MANIFEST, OWNER, RESTED, Store, ended};

/// Records of the log, and parts of the base, on their way at once: all of them take memory, and parts are large.
const BATCH: u32 = 32;
const BATCH_OF_PARTS: u32 = 4;

/// The engine loads so many bytes between two looks at the clock.
const STEP_BYTES: usize = 32 << 10;

/// Counts are below this one.
const MOST: f64 = 9e15;

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
    let (manifest, found) = take_over(database).await?;
    if !found.was_at_rest() && idb::is_leveldb() {
        settle_after_crash(database).await;
    }
    let mut log = Log {
        database,
        owner: manifest.epoch,
        engine: engine(Some(options.policy)),
        chain: Chain::incr(&manifest),
        run: Vec::new(),
        changed: false,
        report: None,
    };
    if let Err(failure) = log.load_all(&manifest, options.damage, found.log_end).await {
        // A database that is refused is left as it was; should that fail, our number stays, which does no harm.
        if !log.changed {
            let _ = found.put_back(database, manifest.epoch).await;
        }
        return Err(failure);
    }
    let Log { mut engine, chain, report, .. } = log;
    clean_up(database, &manifest, chain.sequence).await?;
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

/// What a database said of its owner before we took it over.
struct Found {
    /// There was nothing: the manifest is ours.
    fresh: bool,
    owner: JsValue,
    rested: JsValue,
    /// The number of the last owner, whose end we have marked.
    last: u64,
    /// Its end was marked before.
    was_ended: bool,
    /// Where the log ended.
    log_end: u64,
}

impl Found {
    /// Nothing was being stored when the last owner went.
    fn was_at_rest(&self) -> bool {
        self.fresh || !self.rested.is_undefined()
    }

    /// Makes it as if we had never come: nothing was stored under our number. Not if somebody else has come since.
    async fn put_back(&self, database: &IdbDatabase, epoch: u64) -> Result<(), Failure> {
        let transaction = idb::write(database, &[idb::META], Durability::Strict)?;
        let end = idb::end(&transaction);
        let meta = idb::store(&transaction, idb::META)?;
        if self.fresh || idb::result(&meta.get(&OWNER.into())?).await?.as_f64() != Some(epoch as f64) {
            return Ok(());
        }
        for (key, value) in [(OWNER, &self.owner), (RESTED, &self.rested)] {
            if value.is_undefined() {
                meta.delete(&key.into())?;
            } else {
                meta.put_with_key(value, &key.into())?;
            }
        }
        if !self.was_ended {
            meta.delete(&ended(self.last))?;
        }
        idb::commit(&transaction)?;
        end.await
    }
}

/// Reads the manifest, makes a new one if the database is new, and puts our number into it. Also gives what was there.
async fn take_over(database: &IdbDatabase) -> Result<(Manifest, Found), Failure> {
    let transaction = idb::write(database, &[idb::META, idb::BASE, idb::INCR], Durability::Strict)?;
    let end = idb::end(&transaction);
    let meta = idb::store(&transaction, idb::META)?;
    let stored = idb::result(&meta.get(&MANIFEST.into())?).await?;
    let owner = idb::result(&meta.get(&OWNER.into())?).await?;
    let log_end = count(&idb::result(&meta.get(&END.into())?).await?).unwrap_or(0);
    let rested = idb::result(&meta.get(&RESTED.into())?).await?;
    let fresh = stored.is_undefined();
    let mut manifest = if fresh {
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
            ManifestFault::Newer { format } => newer("its manifest", format),
            ManifestFault::Damaged => damaged("its manifest is not what was written"),
        })?
    };
    // Whatever has become of the owner's number, ours is one that nobody had: theirs cannot be stored under any more.
    let marks = IdbKeyRange::bound(&ended(0), &ended(MOST as u64))?;
    let marks: Array = idb::result(&meta.get_all_keys_with_key(&marks)?).await?.unchecked_into();
    let ended_last = marks.iter().last().and_then(|mark| count(&mark.unchecked_into::<Array>().get(1))).unwrap_or(0);
    let last = count(&owner).unwrap_or(0).max(manifest.epoch).max(ended_last);
    manifest.epoch = last + 1;
    meta.put_with_key(&(manifest.epoch as f64).into(), &OWNER.into())?;
    meta.delete(&RESTED.into())?;
    // The owner before, should it still be there after all, fails from here on.
    if last > 0 {
        meta.put_with_key(&JsValue::TRUE, &ended(last))?;
    }
    idb::commit(&transaction)?;
    end.await?;
    Ok((manifest, Found { fresh, owner, rested, last, was_ended: ended_last == last, log_end }))
}

/// A stored count; `None` if it is none.
fn count(value: &JsValue) -> Option<u64> {
    value.as_f64().filter(|number| (0.0..MOST).contains(number) && number.fract() == 0.0).map(|number| number as u64)
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

fn newer(what: &str, format: u16) -> Failure {
    let text =
        format!("a later version of Haversack wrote this database ({what} has format {format}): update this page");
    Failure::new(FailureKind::Newer, text)
}

fn damaged(what: &str) -> Failure {
    let advice = "nothing was changed; import an export of it into another database, or delete this one to begin anew";
    Failure::new(FailureKind::Damaged, format!("the database is damaged: {what}; {advice}"))
}

/// Damage behind which there is nothing to lose but what it has spoilt already.
fn refused(what: &str) -> Failure {
    let advice = "nothing was changed; opened with damaged: \"quarantine\", what is good before it is loaded";
    Failure::new(FailureKind::Damaged, format!("the database is damaged: {what}; {advice}"))
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
            let record = record.await.map_err(|failure| match failure.kind {
                FailureKind::Other => damaged(&format!("part {part} of its base: {}", failure.reason)),
                _ => failure,
            })?;
            let record = idb::bytes(&record);
            let payload = chain.verify(generation, part, &record).map_err(|fault| match fault {
                Fault::Newer { format } => newer(&format!("part {part} of its base"), format),
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
    /// Our number.
    owner: u64,
    engine: Engine,
    chain: Chain,
    run: Vec<Place>,
    /// Something that is stored was cut off, or is about to be.
    changed: bool,
    report: Option<String>,
}

impl Log<'_> {
    /// Loads the base and the log behind it.
    async fn load_all(&mut self, manifest: &Manifest, damage: Damage, end: u64) -> Result<(), Failure> {
        self.engine.begin_load(clock::now(), 0);
        load_base(self.database, manifest, &mut self.engine).await?;
        self.load(damage, end).await
    }

    async fn load(&mut self, damage: Damage, end: u64) -> Result<(), Failure> {
        let mut range = idb::from_generation(self.chain.generation)?;
        let mut slices = Slices::new();
        self.engine.begin_file(LoadKind::Log);
        loop {
            let records = fetch(self.database, idb::INCR, &range, BATCH).await?;
            let Some((last, _)) = records.last() else { break };
            range = idb::from_key(last, true)?;
            for (key, record) in records {
                let (record, verdict) = match record.await {
                    Ok(record) => {
                        let record = idb::bytes(&record);
                        let verdict = self.take(&key, &record, &mut slices).await?;
                        (record, verdict)
                    }
                    Err(failure) if failure.kind == FailureKind::Other => {
                        (Vec::new(), Err(Fault::Unreadable { reason: failure.reason }))
                    }
                    Err(failure) => return Err(failure),
                };
                if let Err(fault) = verdict {
                    return self.cut(&key, &record, &fault, damage).await;
                }
            }
        }
        if self.chain.sequence < end {
            let text =
                format!("the log ends before record {}, records up to {} are missing", self.chain.sequence, end - 1);
            if damage == Damage::Refuse {
                return Err(refused(&text));
            }
            self.report = Some(text);
        }
        self.end_run().await
    }

    /// Takes the next record; the inner error says why it does not belong here.
    async fn take(&mut self, key: &JsValue, record: &[u8], slices: &mut Slices) -> Result<Result<(), Fault>, Failure> {
        let Some((generation, sequence)) = idb::split_key(key) else { return Ok(Err(Fault::Foreign)) };
        let before = self.chain.clone();
        let payload = match self.chain.verify(generation, sequence, record) {
            Ok(payload) => payload,
            Err(Fault::Newer { format }) => {
                return Err(newer(&format!("record {} of its log", before.sequence), format));
            }
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

    /// Ends at a record that does not hold: what comes from there on is put aside, if that is wanted; the last one
    /// is, too, if it was only stored in part.
    async fn cut(&mut self, key: &JsValue, record: &[u8], fault: &Fault, damage: Damage) -> Result<(), Failure> {
        let from = idb::from_key(key, false)?;
        let count = {
            let transaction = idb::read(self.database, &[idb::INCR])?;
            idb::result(&idb::store(&transaction, idb::INCR)?.count_with_key(&from)?).await?.as_f64().unwrap_or(0.0)
        };
        let place = format!("record {} of the log: {fault}", self.chain.sequence);
        let is_torn = count <= 1.0 && record::is_cut_short(record);
        if !is_torn && damage == Damage::Refuse {
            return Err(refused(&format!("{place}; {count} records from there on are not usable")));
        }
        let report = match is_torn {
            true => format!("the last record was torn and has been cut off, into quarantine ({place})"),
            false => format!("{count} records were put into quarantine, from {place}"),
        };
        let aside = self.readable(&from).await?;
        self.changed = true;
        let transaction = idb::write(self.database, &[idb::META, idb::INCR, idb::QUARANTINE], Durability::Strict)?;
        let end = idb::end(&transaction);
        let quarantine = idb::store(&transaction, idb::QUARANTINE)?;
        for (key, value) in &aside {
            // The record that takes this one's place may come to lie there one day, too.
            quarantine.put_with_key(value, &Array::of2(key, &(self.owner as f64).into()))?;
        }
        let incr = idb::store(&transaction, idb::INCR)?;
        incr.delete(&from)?;
        idb::store(&transaction, idb::META)?.delete(&END.into())?;
        idb::commit(&transaction)?;
        end.await?;
        self.report = Some(report);
        self.end_run().await
    }

    /// The records of a range, but for those that the browser itself cannot read any more.
    async fn readable(&self, range: &JsValue) -> Result<Vec<(JsValue, JsValue)>, Failure> {
        let transaction = idb::read(self.database, &[idb::INCR])?;
        let keys = idb::result(&idb::store(&transaction, idb::INCR)?.get_all_keys_with_key(range)?).await?;
        let keys: Array = keys.unchecked_into();
        let mut found = Vec::new();
        for key in keys.iter() {
            // One that fails takes its transaction with it.
            let transaction = idb::read(self.database, &[idb::INCR])?;
            match idb::result(&idb::store(&transaction, idb::INCR)?.get(&key)?).await {
                Ok(value) => found.push((key, value)),
                Err(failure) if failure.kind == FailureKind::Other => {}
                Err(failure) => return Err(failure),
            }
        }
        Ok(found)
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
        self.changed = true;
        let transaction = idb::write(self.database, &[idb::META, idb::INCR], Durability::Strict)?;
        let end = idb::end(&transaction);
        idb::store(&transaction, idb::META)?.delete(&END.into())?;
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

/// Deletes what rewrites have left behind that ended halfway, and the marks of owners that are long gone; says where the
/// log ends.
async fn clean_up(database: &IdbDatabase, manifest: &Manifest, log_end: u64) -> Result<(), Failure> {
    let transaction = idb::write(database, &[idb::META, idb::BASE, idb::INCR], Durability::Relaxed)?;
    let end = idb::end(&transaction);
    let meta = idb::store(&transaction, idb::META)?;
    meta.put_with_key(&(log_end as f64).into(), &END.into())?;
    let long_gone = IdbKeyRange::bound(&ended(0), &ended(manifest.epoch.saturating_sub(1 + ENDED_KEPT)))?;
    meta.delete(&long_gone)?;
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
