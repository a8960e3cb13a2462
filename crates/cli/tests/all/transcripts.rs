//! What commands print: help texts, tables and messages, as a user sees them.
//!
//! Each file of `transcripts/` holds commands behind `$ ` and what they print, run in a folder with a tiny model and its data.
//! `SNAPSHOTS=overwrite` writes the files anew.
use crate::support::Tiny;
use snapbox::Data;
use std::fs;
use std::path::Path;
use std::process::Command;

/// Wide enough that no help text is broken by the terminal that the tests run in.
const COLUMNS: &str = "120";

#[test]
fn commands_print_what_their_transcripts_say() {
    let tiny = Tiny::new(12, 8);
    tiny.put("empty.yaml", b"train: images/none\nval: images/none\nnames: [red, blue]\n");
    tiny.put("broken.onnx", b"no model");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let entries = fs::read_dir(folder).expect("the folder exists").flatten();
    let mut transcripts: Vec<_> = entries.map(|entry| entry.path()).collect();
    transcripts.sort();
    for transcript in transcripts {
        let text = fs::read_to_string(&transcript).expect("a transcript is text");
        let commands = text.lines().filter_map(|line| line.strip_prefix("$ yoloslim "));
        let printed: Vec<String> = commands.map(|line| run(&tiny, line)).collect();
        snapbox::assert_data_eq!(printed.join("\n"), Data::read_from(&transcript, None).raw());
    }
}

/// A command with what it prints, and its exit code where that is not 0.
fn run(tiny: &Tiny, line: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_yoloslim"))
        .args(line.split_whitespace())
        .current_dir(tiny.path(""))
        .env("COLUMNS", COLUMNS)
        .env_remove("ORT_DYLIB_PATH")
        .output()
        .expect("the binary runs");
    let folder = tiny.path("");
    let folder = folder.to_str().expect("test paths are UTF-8");
    let mut shown = format!("$ yoloslim {line}\n");
    for text in [output.stdout, output.stderr] {
        let text = String::from_utf8(text).expect("what is printed is text");
        for line in text.lines().filter(|line| !is_progress(line)) {
            shown += redacted(line, folder).trim_end();
            shown.push('\n');
        }
    }
    match output.status.code() {
        Some(0) => {}
        code => shown += &format!("[exit code {}]\n", code.expect("it ends by itself")),
    }
    shown
}

/// `images 3/8`, and what a command will take of time and memory: both depend on the machine.
fn is_progress(line: &str) -> bool {
    if line.ends_with(" of memory") {
        return true;
    }
    let last = line.rsplit(' ').next().unwrap_or_default();
    let numbers = last.split_once('/');
    numbers.is_some_and(|(done, all)| done.parse::<u32>().is_ok() && all.parse::<u32>().is_ok())
}

/// A line without the test's folder, the processor's instruction sets and what is measured.
fn redacted(line: &str, folder: &str) -> String {
    let mut line = line.replace(folder.trim_end_matches('/'), "[FOLDER]");
    if let (Some(start), Some(end)) = (line.find(VALUES), line.find(", scalar]")) {
        line.replace_range(start + VALUES.len()..end, "[INSTRUCTION SETS]");
    }
    let Some((before, unit)) = MEASURED.iter().find_map(|unit| {
        let at = line.find(unit)?;
        Some((&line[..at], &line[at..]))
    }) else {
        return line;
    };
    let number = before.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.');
    if number == before {
        return line;
    }
    format!("{number}[MEASURED]{unit}")
}

/// Before the names of instruction sets, of which the last is `scalar`.
const VALUES: &str = "[possible values: ";

/// Units behind numbers that differ from run to run.
const MEASURED: &[&str] = &[" images/s", " ms"];
