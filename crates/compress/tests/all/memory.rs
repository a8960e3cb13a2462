//! Pruning within a bound of memory: what comes out does not depend on it, and too little is refused with what is needed.
use compress::{CompressError, PruneBudget, PruneOptions, PruneStudy, Pruned};
use ir::Graph;
use observe::{Engine, ImageSet, Model, Observation};
use testkit::tiny_folder::TinyFolder;
use yolo::Dataset;
use yolo::families::{self, Head};

const IMAGES: usize = 24;

struct Subject {
    graph: Graph,
    head: Head,
    images: ImageSet,
}

impl Subject {
    fn new(folder: &TinyFolder) -> Self {
        let graph = testkit::tiny::detector();
        let head = families::identify(&graph, None).unwrap();
        let dataset = Dataset::open(&folder.path("data.yaml"), "train").unwrap();
        Self { graph, head, images: ImageSet::from(&dataset) }
    }

    /// A study, given so much memory.
    fn study(&self, memory_bytes: usize) -> Result<PruneStudy<'_>, Box<CompressError>> {
        let observation = Observation {
            model: Model::new(&self.graph, &self.head),
            images: &self.images,
            engine: Engine { threads: 2, memory_bytes, ..Engine::default() },
            progress: &|_| (),
        };
        let repair = compress::REPAIR_STEPS.iter().map(|(_, step)| *step).collect();
        let options = PruneOptions { repair, ..PruneOptions::default() };
        PruneStudy::new(observation, &options).map_err(Box::new)
    }

    fn least_bytes(&self) -> usize {
        match self.study(1).map(|_| ()).map_err(|error| *error) {
            Err(CompressError::PruningMemory { needed, allowed }) => {
                assert_eq!(allowed, 1);
                needed
            }
            other => panic!("one byte is not enough: {other:?}"),
        }
    }
}

fn bytes(pruned: &Pruned) -> Vec<u8> {
    onnx::encode(&pruned.graph).unwrap()
}

#[test]
fn prune_within_the_least_memory_gives_the_bytes_of_any() {
    let folder = TinyFolder::new(IMAGES, 1);
    let subject = Subject::new(&folder);
    let budget = PruneBudget::Macs(0.3);
    let mut all = subject.study(usize::MAX).unwrap();
    assert_eq!(all.reckoning().passes(), 1);
    // What is kept of activations grows with the memory, so that a little more than the least is needed.
    let mut least = subject.least_bytes();
    let mut bounded = loop {
        match subject.study(least).map_err(|error| *error) {
            Ok(study) => break study,
            Err(CompressError::PruningMemory { needed, .. }) => least = needed.max(least + 1),
            Err(other) => panic!("{other}"),
        }
    };
    assert!(bounded.reckoning().passes() > 1, "the least memory holds not all moments");
    assert!(bounded.reckoning().memory_bytes <= least);
    assert!(bounded.reckoning().memory_bytes < all.reckoning().memory_bytes);
    let (all, bounded) = (all.prune(budget).unwrap(), bounded.prune(budget).unwrap());
    assert!(all.account.plan.removed_channels() > 0);
    assert_eq!(all.account.plan, bounded.account.plan);
    assert_eq!(bytes(&all), bytes(&bounded));
}

#[test]
fn reckoning_of_a_budget_without_curves_leaves_their_evaluations_out() {
    let folder = TinyFolder::new(IMAGES, 1);
    let subject = Subject::new(&folder);
    let study = subject.study(usize::MAX).unwrap();
    let reckoning = study.reckoning();
    assert_eq!((reckoning.images, reckoning.compared), (IMAGES, IMAGES / 3));
    let ranked = reckoning.macs(PruneBudget::Contribution(0.9));
    let measured = reckoning.macs(PruneBudget::Macs(0.3));
    // Every group is evaluated twice on the images that are compared, and none of them costs more than the whole network.
    let most = 2.0 * (IMAGES / 3) as f64 * subject.graph.macs() as f64;
    let groups = prune::analyse(&subject.graph).unwrap().prunable().count() as f64;
    assert!(measured > ranked && measured - ranked <= groups * most);
}
