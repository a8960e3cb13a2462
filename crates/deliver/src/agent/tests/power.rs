//! Files that forget, when the power fails, what was not synced.
use crate::agent::files::{Disk, Files};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

/// What a power loss leaves of names and bytes that were not synced. Either is allowed to a file system.
#[derive(Clone, Copy, Debug)]
pub(super) enum Loss {
    /// Nothing.
    All,
    /// The names, but none of the bytes: files are empty or as they were.
    Bytes,
    /// Of each name and each file's bytes what a seed says.
    Some(u64),
}

/// Below one folder, files whose names and bytes outlast a power loss only where they were synced.
#[derive(Clone, Debug)]
pub(super) struct PowerFiles(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    root: PathBuf,
    /// Operations that are still done before the power fails.
    left: usize,
    /// Operations done.
    done: usize,
    next_id: u64,
    live: BTreeMap<PathBuf, Node>,
    durable: BTreeMap<PathBuf, Node>,
    /// Bytes of files that would outlast a power loss.
    bytes: BTreeMap<u64, Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Node {
    Folder,
    File(u64),
    Link(PathBuf),
}

impl PowerFiles {
    /// Files of a folder that does not exist yet; the power fails after so many operations.
    pub(super) fn new(root: &Path) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            root: fs::canonicalize(root.parent().expect("a parent"))
                .expect("it exists")
                .join("state"),
            left: usize::MAX,
            done: 0,
            next_id: 0,
            live: BTreeMap::new(),
            durable: BTreeMap::new(),
            bytes: BTreeMap::new(),
        })))
    }

    /// From now on the power fails after so many operations.
    pub(super) fn cut_after(&self, operations: usize) {
        let mut inner = self.lock();
        inner.left = operations;
        inner.done = 0;
    }

    /// Operations done since.
    pub(super) fn done(&self) -> usize {
        self.lock().done
    }

    /// Puts the folder into a state in which it may be found after a power loss; then there is power again.
    pub(super) fn lose(&self, loss: Loss) {
        self.lock().lose(loss);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().expect("not poisoned")
    }

    fn step(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let mut inner = self.lock();
        if inner.left == 0 {
            return Err(io::Error::other("the power failed"));
        }
        inner.left -= 1;
        inner.done += 1;
        Ok(inner)
    }
}

impl Inner {
    fn name(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.root).expect("a path of the folder").to_path_buf()
    }

    fn lose(&mut self, loss: Loss) {
        let mut draw = Draw(match loss {
            Loss::Some(seed) => seed.wrapping_mul(2).wrapping_add(1),
            _ => 0,
        });
        let mut live_bytes = BTreeMap::new();
        for (name, node) in &self.live {
            if let Node::File(id) = node {
                live_bytes.insert(*id, fs::read(self.root.join(name)).expect("it is there"));
            }
        }
        let mut names: Vec<&PathBuf> = self.live.keys().chain(self.durable.keys()).collect();
        names.sort();
        names.dedup();
        let mut kept = BTreeMap::new();
        for name in names {
            let takes_live = match loss {
                Loss::All => false,
                Loss::Bytes => true,
                Loss::Some(_) => draw.half(),
            };
            let node = if takes_live { self.live.get(name) } else { self.durable.get(name) };
            let above = name.parent().expect("it is below the folder");
            if let Some(node) = node
                && (above == Path::new("") || kept.get(above) == Some(&Node::Folder))
            {
                kept.insert(name.clone(), node.clone());
            }
        }
        let mut bytes = BTreeMap::new();
        for node in kept.values() {
            let Node::File(id) = node else { continue };
            let durable = self.bytes.get(id).cloned().unwrap_or_default();
            let live = live_bytes.get(id).cloned().unwrap_or_default();
            let found = match loss {
                Loss::Some(_) if draw.half() => live[..draw.up_to(live.len())].to_vec(),
                _ => durable.clone(),
            };
            // Once its bytes are synced and nothing was written since, they stay.
            let found = if durable == live { durable } else { found };
            bytes.entry(*id).or_insert(found);
        }
        self.build(&kept, &bytes);
        (self.live, self.durable, self.bytes) = (kept.clone(), kept, bytes);
        self.left = usize::MAX;
    }

    fn build(&self, nodes: &BTreeMap<PathBuf, Node>, bytes: &BTreeMap<u64, Vec<u8>>) {
        for entry in fs::read_dir(&self.root).expect("a folder") {
            let path = entry.expect("an entry").path();
            let is_folder = path.is_dir() && !path.is_symlink();
            let removed =
                if is_folder { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.expect("removed");
        }
        let mut first: BTreeMap<u64, PathBuf> = BTreeMap::new();
        for (name, node) in nodes {
            let path = self.root.join(name);
            match node {
                Node::Folder => fs::create_dir(&path),
                Node::Link(target) => std::os::unix::fs::symlink(target, &path),
                Node::File(id) => match first.get(id) {
                    Some(first) => fs::hard_link(first, &path),
                    None => {
                        first.insert(*id, path.clone());
                        fs::write(&path, &bytes[id])
                    }
                },
            }
            .expect("made");
        }
    }
}

/// Numbers by xorshift (doi:10.18637/jss.v008.i14): nothing more is needed of them.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    fn half(&mut self) -> bool {
        self.next().is_multiple_of(2)
    }

    fn up_to(&mut self, most: usize) -> usize {
        (self.next() % (most as u64 + 1)) as usize
    }
}

struct PowerWriter<'a> {
    files: &'a PowerFiles,
    file: Box<dyn Write + 'a>,
}

impl Write for PowerWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _inner = self.files.step()?;
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Files for PowerFiles {
    fn create_folder(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.step()?;
        Disk.create_folder(path)?;
        let name = inner.name(path);
        inner.live.insert(name, Node::Folder);
        Ok(())
    }

    fn write<'a>(&'a self, path: &Path, from_end: bool) -> io::Result<Box<dyn Write + 'a>> {
        let mut inner = self.step()?;
        let opened = fs::OpenOptions::new()
            .create(true)
            .write(true)
            .append(from_end)
            .truncate(!from_end)
            .open(path)?;
        let (name, id) = (inner.name(path), inner.next_id);
        inner.next_id += 1;
        inner.live.entry(name).or_insert(Node::File(id));
        Ok(Box::new(PowerWriter { files: self, file: Box::new(opened) }))
    }

    fn sync(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.step()?;
        let name = inner.name(path);
        if let Some(Node::File(id)) = inner.live.get(&name).cloned() {
            inner.bytes.insert(id, fs::read(path)?);
            return Ok(());
        }
        assert!(path.is_dir(), "what is synced is there");
        let inside = |other: &PathBuf| other.parent() == Some(&*name);
        let Inner { live, durable, .. } = &mut *inner;
        durable.retain(|other, _| !inside(other) || live.contains_key(other));
        durable.extend(
            live.iter().filter(|(other, _)| inside(other)).map(|(n, d)| (n.clone(), d.clone())),
        );
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.step()?;
        fs::rename(from, to)?;
        let (from, to) = (inner.name(from), inner.name(to));
        let node = inner.live.remove(&from).expect("it is there");
        assert_ne!(node, Node::Folder, "folders are not renamed");
        inner.live.insert(to, node);
        Ok(())
    }

    fn hard_link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut inner = self.step()?;
        fs::hard_link(from, to)?;
        let node = inner.live[&inner.name(from)].clone();
        let to = inner.name(to);
        inner.live.insert(to, node);
        Ok(())
    }

    fn symlink(&self, target: &Path, path: &Path) -> io::Result<()> {
        let mut inner = self.step()?;
        Disk.symlink(target, path)?;
        let name = inner.name(path);
        inner.live.insert(name, Node::Link(target.to_path_buf()));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.step()?;
        fs::remove_file(path)?;
        let name = inner.name(path);
        inner.live.remove(&name);
        Ok(())
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        let mut inner = self.step()?;
        fs::remove_dir(path)?;
        let name = inner.name(path);
        inner.live.remove(&name);
        Ok(())
    }
}
