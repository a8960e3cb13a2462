//! How times were measured, in words.
use observe::{Latency, Machine};

/// The interval of a median.
pub(crate) fn interval(latency: &Latency) -> String {
    match latency.median_low.zip(latency.median_high) {
        Some((low, high)) => format!("{low:.2} to {high:.2} ms"),
        None => "too few rounds".to_owned(),
    }
}

/// What the machine was, and whether something disturbed it.
pub(crate) fn machine(machine: &Machine) -> String {
    let frequency = match machine.frequency_mhz {
        Some([low, high]) => format!("{low:.0} to {high:.0} MHz"),
        None => "frequency not known".to_owned(),
    };
    let shares = [
        ("other processes took", machine.other_load, "of the CPU time"),
        ("the host took", machine.stolen, "of it"),
        ("threads waited for a CPU for", machine.waited, "of the time"),
    ];
    let shares = shares.map(|(what, share, of)| match share {
        Some(share) => format!("{what} {:.1} % {of}", 100.0 * share),
        None => format!("{what} an unknown share {of}"),
    });
    let cpu = machine.cpu.as_deref().unwrap_or("CPU not known");
    let (rounds, disturbed) = (machine.rounds, machine.disturbed_rounds);
    let slowest = format!(
        "the loop in between took up to {:.1} % longer than at its fastest",
        100.0 * machine.slowest
    );
    let pace = format!("a loop in between {:.2} G steps/s", machine.gsteps_per_s);
    let verdict = match (machine.is_quiet, disturbed) {
        (true, 0) => format!("undisturbed: {slowest}"),
        (true, _) => format!("{disturbed} of {rounds} rounds do not count: {slowest}"),
        (false, _) => format!(
            "warning: the machine was busy in {disturbed} of {rounds} rounds, and all count: {slowest}"
        ),
    };
    format!("{cpu}, {frequency}, {pace}; {}\n{verdict}", shares.join(", "))
}
