//! `promote`: an alias that moves on when enough devices report that it may.
use crate::Verdict;
use crate::args::{CommonArgs, PromoteArgs};
use crate::output;
use anyhow::{Result, bail};
use deliver::PublicKeys;
use deliver::promote::{Terms, promote};
use deliver::store::Reference;

/// Runs the verb.
pub(crate) fn run(args: &PromoteArgs, common: &CommonArgs) -> Result<Verdict> {
    let source = &args.source;
    let Reference::Tag(from) = source.reference() else {
        bail!("{source}: a tag is promoted, not one manifest");
    };
    if args.healthy > 0 && args.devices.is_none() {
        bail!(
            "--devices names the keys by which {} healthy devices are believed; --healthy 0 asks none",
            args.healthy
        );
    }
    let keys = args.devices.as_deref().map(PublicKeys::read).transpose()?;
    let store = source.open(&args.registry.access())?;
    let terms = Terms {
        from: &from,
        to: &args.to,
        healthy: args.healthy,
        despite_rollbacks: args.despite_rollbacks,
    };
    let promotion = promote(&*store, &terms, keys.as_ref())?;
    if !promotion.devices.is_empty() {
        let mut table = output::table(&["report", "means", "why"]);
        for device in &promotion.devices {
            table.add_row([
                device.tag.clone(),
                device.meaning.name().to_owned(),
                device.why.clone(),
            ]);
        }
        say!("{table}");
    }
    output::write_json(common.json.as_deref(), &promotion)?;
    if let Some(why) = &promotion.refused {
        note!("not promoted: {why}");
        return Ok(Verdict::GateFailed);
    }
    say!("{} names {} now", source.with_tag(&args.to), promotion.manifest);
    Ok(Verdict::Done)
}
