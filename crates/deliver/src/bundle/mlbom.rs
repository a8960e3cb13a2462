//! The bill of materials of a bundle, a CycloneDX ML-BOM.
//!
//! Source: CycloneDX 1.6 (ECMA-424), `machine-learning-model` and `modelCard`.
use super::{Bundle, FileRole, Manifest, Metric};
use serde_json::{Value, json};

/// The bill of materials of a bundle that has all its files but this one. It says no time, and its serial number is made of the
/// bundle's digest: the same bundle has the same bill.
pub fn mlbom(bundle: &Bundle) -> String {
    let manifest = &bundle.manifest;
    let files = manifest.files.iter().map(|(name, entry)| {
        let hashes = json!([{"alg": "SHA-256", "content": entry.digest.hex()}]);
        json!({"type": "file", "bom-ref": format!("file:{name}"), "name": name, "hashes": hashes})
    });
    let data = json!({
        "type": "data",
        "bom-ref": "data:val",
        "name": "val",
        "description": format!("{} images with {} labelled objects", manifest.data.images, manifest.data.objects),
        "hashes": [{"alg": "SHA-256", "content": manifest.data.digest.hex()}],
        "data": [{"type": "dataset", "name": "val"}],
    });
    let (tool, version) = manifest.provenance.tool.split_once(' ').unwrap_or(("yoloslim", ""));
    let bom = json!({
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": format!("urn:uuid:{}", uuid(&bundle.digest.hex())),
        "version": 1,
        "metadata": {
            "tools": {"components": [{"type": "application", "name": tool, "version": version}]},
            "component": model(manifest),
        },
        "components": files.chain([data]).collect::<Vec<Value>>(),
        "dependencies": [{
            "ref": "model",
            "dependsOn": manifest.files.keys().map(|name| format!("file:{name}"))
                .chain(["data:val".to_owned()]).collect::<Vec<_>>(),
        }],
    });
    // Strings, numbers and lists: this cannot fail.
    serde_json::to_string_pretty(&bom).unwrap_or_default() + "\n"
}

fn model(manifest: &Manifest) -> Value {
    let provenance = &manifest.provenance;
    let input = &manifest.input;
    let mut properties = vec![json!({"name": "yoloslim:source-model", "value": provenance.model})];
    if let Some(commit) = &provenance.commit {
        properties.push(json!({"name": "yoloslim:commit", "value": commit}));
    }
    let classes = manifest.classes.join(", ");
    json!({
        "type": "machine-learning-model",
        "bom-ref": "model",
        "name": manifest.name,
        "description": format!("Finds {classes} in images; pruned and quantized to INT8"),
        "properties": properties,
        "modelCard": {
            "modelParameters": {
                "approach": {"type": "supervised"},
                "task": "object-detection",
                "architectureFamily": "YOLO",
                "modelArchitecture": manifest.family,
                "datasets": [{"ref": "data:val"}],
                "inputs": [{"format": format!(
                    "image, [1, {}, {}, {}]", input.channels, input.height_px, input.width_px
                )}],
                "outputs": [{"format": "boxes with class and confidence"}],
            },
            "quantitativeAnalysis": {"performanceMetrics": performance(manifest)},
            "considerations": considerations(manifest),
        },
    })
}

/// Each metric, and where its ratio to that of the model as it came is known with an interval, that too.
fn performance(manifest: &Manifest) -> Vec<Value> {
    let mut all = Vec::new();
    for (name, metric) in &manifest.metrics {
        let Metric { value, before, ratio_interval, .. } = *metric;
        all.push(sliced(name, "", json!({"value": value.to_string()})));
        if let (Some([lower, upper]), Some(before)) = (ratio_interval, before) {
            let interval =
                json!({"lowerBound": lower.to_string(), "upperBound": upper.to_string()});
            let ratio =
                json!({"value": (value / before).to_string(), "confidenceInterval": interval});
            all.push(sliced(name, " over that of the model as it came", ratio));
        }
    }
    all
}

/// `class.scratch.map_50` is `map_50` of a slice of the data, that class.
fn sliced(name: &str, what: &str, mut metric: Value) -> Value {
    let of_class = name.strip_prefix("class.").and_then(|name| name.rsplit_once('.'));
    let kind = of_class.map_or(name, |(_, kind)| kind);
    metric["type"] = json!(format!("{kind}{what}"));
    if let Some((class, _)) = of_class {
        metric["slice"] = json!(format!("class {class}"));
    }
    metric
}

fn considerations(manifest: &Manifest) -> Value {
    let thresholds = manifest.thresholds;
    let data = &manifest.data;
    let before = |name: &str| manifest.metrics.get(name).and_then(|m| Some((m.before?, m.value)));
    let trade = ["macs", "file_bytes", "map_50_95"].iter().filter_map(|name| {
        let (before, after) = before(name)?;
        Some(format!("{name}: {before} before compression, {after} after"))
    });
    let models = manifest.files.iter().filter(|(_, entry)| entry.role == FileRole::Model);
    let models = models.map(|(name, entry)| format!("{name}: {} bytes", entry.size_bytes));
    json!({
        "useCases": ["Finding objects of its classes in images like those that it was measured on"],
        "technicalLimitations": [
            format!("Measured on {} images with {} objects; what images of another kind give is not known", data.images, data.objects),
            format!("Objects are reported from a confidence of {} on, and at most with an overlap of {}", thresholds.conf, thresholds.iou),
        ],
        "performanceTradeoffs": trade.chain(models).collect::<Vec<_>>(),
    })
}

/// A UUID of version 8, whose bits are the maker's own (RFC 9562, section 5.8).
fn uuid(hex: &str) -> String {
    let variant = match hex.as_bytes().get(16).map(|digit| digit % 4) {
        Some(1) => '9',
        Some(2) => 'a',
        Some(3) => 'b',
        _ => '8',
    };
    format!(
        "{}-{}-8{}-{variant}{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..32]
    )
}
