//! `meshctl graph`.

use super::args::Global;
use super::settings::scene_unasked;
use super::{Error, Exit};
use crate::views::Printer;

/// Print the deployment as a graph
#[derive(Debug, clap::Args)]
pub(super) struct GraphArgs {
    /// The language of the graph
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, clap::ValueEnum)]
enum Format {
    #[default]
    Mermaid,
    Dot,
}

pub(super) async fn run(
    args: &GraphArgs,
    global: &Global,
    printer: &Printer,
) -> Result<Exit, Error> {
    let scene = scene_unasked(global, printer).await?;
    let graph = crate::steps::deployment(&scene.environment, &scene.clients);
    if printer.is_json() {
        for (id, title, expected, needs) in graph.steps() {
            printer.json(&serde_json::json!({"id": id, "title": title, "expected": expected, "needs": needs}));
        }
        return Ok(Exit::Success);
    }
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "'"));
    let (head, tail) = match args.format {
        Format::Mermaid => ("graph TD", ""),
        Format::Dot => ("digraph meshctl {\n  rankdir=LR;\n  node [shape=box];", "}"),
    };
    printer.data(head);
    let node = |id: &str| id.replace(|c: char| !c.is_ascii_alphanumeric(), "_");
    for (id, title, _, needs) in graph.steps() {
        let id = id.as_str();
        match args.format {
            Format::Mermaid => printer.data(&format!("  {}[{}]", node(id), quoted(&title))),
            Format::Dot => printer.data(&format!("  {} [label={}];", quoted(id), quoted(&title))),
        }
        for need in needs {
            match args.format {
                Format::Mermaid => {
                    printer.data(&format!("  {} --> {}", node(need.as_str()), node(id)))
                }
                Format::Dot => {
                    printer.data(&format!("  {} -> {};", quoted(need.as_str()), quoted(id)))
                }
            }
        }
    }
    if !tail.is_empty() {
        printer.data(tail);
    }
    Ok(Exit::Success)
}
