//! Both containers, every element type, and what a checkpoint may hold in place of or around a model.
use crate::made::modules::*;
use crate::made::{Container, DType, Module, Py, Tensor, save};
use checkpoint::{Checkpoint, LoadOptions, parse};
use std::io::{Cursor, Write};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

const CONTAINERS: [Container; 2] = [Container::Zip, Container::Legacy];

/// A model of one block and a head, on images of that many channels.
fn small(channels: usize) -> Module {
    model(vec![after(block(channels, 8, 3, 2, 1)), after(detect(&[8]))])
}

fn load(value: &Py, container: Container) -> Checkpoint {
    let options = LoadOptions { imgsz: Some([16, 24]), ..LoadOptions::default() };
    parse(&save(value, container), &options).expect("it loads")
}

fn refusal(value: &Py) -> String {
    let told = CONTAINERS.map(|container| {
        let read = parse(&save(value, container), &LoadOptions::default());
        read.expect_err("it is refused").to_string()
    });
    assert_eq!(told[0], told[1]);
    told[0].clone()
}

/// Names and elements of all constants.
fn constants(checkpoint: &Checkpoint) -> Vec<(String, Vec<f64>)> {
    let values = checkpoint.graph.values();
    let constants = values.filter_map(|(_, v)| {
        let elements = v.constant.as_ref()?.to_f64().expect("numbers");
        Some((v.name.clone(), elements))
    });
    constants.collect()
}

/// Changes every tensor of a module and of those in it.
fn change(module: &mut Module, how: &impl Fn(&mut Tensor)) {
    let all = module.parameters.iter_mut().chain(&mut module.attributes);
    for (_, value) in all {
        if let Py::Tensor(tensor) = value {
            how(tensor);
        }
    }
    for (_, child) in &mut module.children {
        change(child, how);
    }
}

fn key(name: &str) -> Py {
    Py::Str(name.to_owned())
}

#[test]
fn both_containers_give_the_same_weights_in_every_element_type() {
    let expected = constants(&load(&checkpoint(small(3)), Container::Zip));
    for container in CONTAINERS {
        for dtype in [DType::Float, DType::Double, DType::Half] {
            for (offset, part, parameter) in [(0, false, true), (3, false, false), (3, true, true)]
            {
                let mut changed = small(3);
                change(&mut changed, &|t| {
                    (t.dtype, t.offset, t.part, t.parameter) = (dtype, offset, part, parameter);
                });
                let found = constants(&load(&checkpoint(changed), container));
                assert!(found == expected, "{container:?} {dtype:?} {offset} {part}");
            }
        }
        let mut rounded = small(3);
        change(&mut rounded, &|t| t.dtype = DType::BFloat16);
        let found = constants(&load(&checkpoint(rounded), container));
        for ((name, a), (_, b)) in found.iter().zip(&expected) {
            let near = |(x, y): (&f64, &f64)| (x - y).abs() <= y.abs() / 128.0;
            assert!(a.iter().zip(b).all(near), "{name}");
        }
        let mut whole = small(3);
        change(&mut whole, &|t| {
            t.values.iter_mut().for_each(|v| *v = (*v * 8.0).round());
        });
        let expected = constants(&load(&checkpoint(whole.clone()), Container::Zip));
        change(&mut whole, &|t| t.dtype = DType::Long);
        assert!(constants(&load(&checkpoint(whole), container)) == expected);
    }
}

#[test]
fn a_legacy_file_cut_anywhere_is_an_error() {
    let file = save(&checkpoint(small(3)), Container::Legacy);
    for cut in (0..file.len()).step_by(file.len() / 40) {
        assert!(
            parse(&file[..cut], &LoadOptions::default()).is_err(),
            "cut at {cut} of {}",
            file.len()
        );
    }
    let mut big_endian = file;
    let at = memchr::memmem::find(&big_endian, b"little_endian").expect("it says so");
    big_endian[at + 13] = 0x89;
    let error = parse(&big_endian, &LoadOptions::default()).expect_err("it is refused");
    assert!(error.to_string().contains("byte order"), "{error}");
}

#[test]
fn the_moving_average_is_preferred_and_wrappers_are_opened() {
    let (step, mut average) = (small(3), small(3));
    change(&mut average, &|t| t.values.iter_mut().for_each(|v| *v *= 2.0));
    let plain = load(&checkpoint(average.clone()), Container::Zip);
    let wrapped = |class: &str, name: &str| Module::new(class).child(name, average.clone());
    let ema = |value| Py::Dict(vec![(key("model"), Py::Module(step.clone())), (key("ema"), value)]);
    let updated =
        Module::new("utils.torch_utils.ModelEMA").with("ema", Py::Module(average.clone()));
    for container in CONTAINERS {
        for value in [ema(Py::Module(average.clone())), ema(Py::Module(updated.clone()))] {
            let found = load(&value, container);
            assert!(found.is_ema);
            assert!(constants(&found) == constants(&plain));
        }
        let data_parallel =
            wrapped("torch.nn.parallel.distributed.DistributedDataParallel", "module");
        for value in [
            Py::Module(average.clone()),
            Py::Module(wrapped("torch.nn.parallel.data_parallel.DataParallel", "module")),
            checkpoint(data_parallel),
            checkpoint(wrapped("torch._dynamo.eval_frame.OptimizedModule", "_orig_mod")),
            Py::Module(wrapped("models.common.AutoShape", "model")),
        ] {
            let found = load(&value, container);
            assert!(!found.is_ema);
            assert!(constants(&found) == constants(&plain));
        }
    }
}

#[test]
fn images_have_the_channels_that_the_first_convolution_reads() {
    let focus = |channels: usize| {
        let conv = block(4 * channels, 8, 3, 1, 1);
        let focus = Module::new("models.common.Focus").child("conv", conv);
        model(vec![after(focus), after(detect(&[8]))])
    };
    let pixels = |channels: usize| {
        let contract = block_of("Contract").int("gain", 4);
        let conv = block(16 * channels, 8, 1, 1, 1);
        model(vec![after(contract), after(conv), after(detect(&[8]))])
    };
    let norm = |channels: usize| {
        let layers = vec![batch_norm(channels, 3), block(channels, 8, 3, 2, 1), detect(&[8])];
        model(layers.into_iter().map(after).collect())
    };
    for channels in [1, 2, 3, 4, 6, 12] {
        for made in [small(channels), focus(channels), pixels(channels), norm(channels)] {
            let graph = load(&checkpoint(made), Container::Zip).graph;
            let ty = graph.ty(graph.inputs()[0]).expect("types are known");
            assert_eq!(ty.shape, [1, channels, 16, 24]);
        }
    }
    let many = small(5000);
    assert!(refusal(&checkpoint(many)).contains("1 to 1024 channels"));
}

#[test]
fn what_is_no_model_is_named_with_the_way_on() {
    let tensor = || Py::Tensor(Tensor::new(&[2], vec![1.0, 2.0]));
    let weights = || Py::Dict(vec![(key("0.weight"), tensor()), (key("0.bias"), tensor())]);
    let dict = |name: &str, value| Py::Dict(vec![(key("epoch"), Py::Int(3)), (key(name), value)]);
    let other = Module::new("yolov6.models.yolo.Model").child("backbone", block(3, 8, 3, 1, 1));
    let unknown = model(vec![after(block_of("Backdoor")), after(conv2d(3, 8, 1, 1, 1))]);
    let text = model(vec![after(conv2d(3, 8, 1, 1, 1)), after(block_of("C2fAttn"))]);
    let rtdetr = model(vec![
        after(conv2d(3, 8, 1, 1, 1)),
        joining(Module::new("ultralytics.nn.modules.head.RTDETRDecoder"), &[-1]),
    ]);
    for (value, expected) in [
        (weights(), "checkpoint: weights alone (2 tensors, a state dict)"),
        (dict("model", weights()), "`model`: weights alone"),
        (dict("state_dict", weights()), "`state_dict`: weights alone"),
        (dict("ema", dict("module", weights())), "`module`: weights alone"),
        (dict("lr", Py::Float(0.1)), "expected a model under `ema` or `model`"),
        (Py::List(vec![]), "expected a model under `ema` or `model`"),
        (checkpoint(other), "`yolov6.models.yolo.Model` is not a network in the layout"),
        (checkpoint(unknown), "class `ultralytics.nn.modules.block.Backdoor` is not known"),
        (checkpoint(text), "a block that reads text is not supported"),
        (checkpoint(rtdetr), "a transformer decoder is not supported"),
    ] {
        let told = refusal(&value);
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn archives_of_other_kinds_are_named() {
    let archive = |names: &[&str]| {
        let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
        for name in names {
            let options = SimpleFileOptions::default();
            writer.start_file(*name, options).expect("memory is writable");
            writer.write_all(b"\x80\x02N.").expect("memory is writable");
        }
        writer.finish().expect("memory is writable").into_inner()
    };
    for (names, expected) in [
        (&["best/data.pkl", "best/constants.pkl", "best/code/a.py"][..], "a TorchScript archive"),
        (&["images/a.jpg"], "a zip archive that torch.save did not write"),
    ] {
        let error = parse(&archive(names), &LoadOptions::default()).expect_err("it is refused");
        assert!(error.to_string().contains(expected), "{error}");
    }
}
