//! The power cut after every single operation on files.
use super::power::{Loss, PowerFiles};
use super::{Bench, refuses_in_use};
use crate::agent::{Outcome, last_report};

const LOSSES: [Loss; 4] = [Loss::All, Loss::Bytes, Loss::Some(1), Loss::Some(2)];

/// Cuts the power after each operation by which a device comes from version 1, or from nothing where `first` is false, to what
/// is published as version 2; afterwards the device must have one of the two, whole, and must come to `expected`.
fn cut_everywhere(first: bool, second: &[u8], expected: u64) {
    let mut cuts = 0;
    let mut bench = Bench::new();
    bench.settings.warm_up = refuses_in_use(&bench.settings.state);
    bench.publish(b"good", 1);
    bench.name_again("one");
    let wanted = bench.publish(second, 2);
    bench.name_again("two");
    for loss in LOSSES {
        let mut operations = 0;
        loop {
            let _ = std::fs::remove_dir_all(&bench.settings.state);
            let files = PowerFiles::new(&bench.settings.state);
            if first {
                bench.settings.alias = "one".to_owned();
                let agent = bench.agent_with(Box::new(files.clone()));
                agent.expect("it starts").converge().expect("converged");
            }
            bench.settings.alias = "two".to_owned();
            let agent = || bench.agent_with(Box::new(files.clone()));
            files.cut_after(operations);
            let ended = agent().and_then(|mut agent| agent.converge());
            let was_cut = files.done() == operations;
            files.lose(loss);
            let found = bench.version();
            assert!(found > 0 || !first, "{loss:?} after {operations}: no model ({ended:?})");
            let again = agent().expect("it starts again").converge();
            assert_eq!(bench.version(), expected, "{loss:?} after {operations}: {again:?}");
            let status = last_report(&bench.settings.state).expect("reported").status;
            assert!(status.healthy, "{loss:?} after {operations}: {status:?}");
            match again.expect("converged") {
                Outcome::Failed(failed) => assert_eq!((failed.manifest, expected), (wanted, 1)),
                Outcome::Installed | Outcome::UpToDate => assert_eq!(expected, 2),
            }
            if !was_cut {
                break;
            }
            operations += 1;
            cuts += 1;
        }
    }
    assert!(cuts > 100, "{cuts} cuts");
}

#[test]
fn power_cut_anywhere_in_the_first_install_leaves_nothing_or_all_of_it() {
    cut_everywhere(false, b"good", 2);
}

#[test]
fn power_cut_anywhere_in_an_update_leaves_the_old_or_the_new() {
    cut_everywhere(true, b"better", 2);
}

#[test]
fn power_cut_anywhere_in_a_rollback_leaves_the_old_or_the_new() {
    cut_everywhere(true, b"bad", 1);
}
