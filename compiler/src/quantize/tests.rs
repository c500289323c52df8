//! The stage on small graphs in text form.

use qwenc_ir::Graph;
use qwenc_ir::interp::{HostTensor, inputs_by_name, run};
use qwenc_ir::text::{ConstPool, parse};

use super::*;

/// Two layers in both layouts, a lookup that shares the head's matrix, and a product that is no layer's weight.
const MODEL: &str = r#"graph "g" {
  input %ids: i64[1, 3]
  const %head: f32[40, 70] = seeded(1, -0.2, 0.2) "lm_head.weight"
  const %up: f32[70, 70] = seeded(2, -0.2, 0.2) "mlp.up.weight"
  const %bias: f32[1, 70] = seeded(3) "mlp.bias"
  %x = gather(%head, %ids) {axis = 0} : f32[1, 3, 70] "embed"
  %h = linear(%x, _, %up) {weights = [kn]} : f32[1, 3, 70] "mlp/up"
  %b = elementwise(%h, %bias) {expr = add(a0, a1)} : f32[1, 3, 70] "add"
  %y = linear(%b, _, %head) {weights = [nk]} : f32[1, 3, 40] "head/MatMul"
  output "y" = %y
}
"#;

fn model() -> Graph {
    parse(MODEL, &ConstPool::new()).unwrap_or_else(|error| panic!("{error}"))
}

fn recipe(default: StoreAs, keep: &[&str]) -> WeightRecipe {
    WeightRecipe { default, keep: keep.iter().map(|text| text.parse().unwrap()).collect() }
}

fn output(graph: &Graph) -> HostTensor {
    let ids = HostTensor::i64([1usize, 3], [3, 0, 39]).unwrap();
    let inputs = inputs_by_name(graph, [("ids", ids)]).unwrap();
    let values = run(graph, &qwenc_ir::Bindings::new(), &inputs).unwrap();
    values.get(graph.outputs()[0].1).unwrap().clone()
}

fn rounded(graph: &mut Graph, recipe: &WeightRecipe) -> Result<Vec<WeightRecord>, RecipeError> {
    let mut last = (0, 1);
    let records = quantize(graph, recipe, Rounding::Round, &mut |done, total| {
        assert!(done > last.0 && done <= total);
        last = (done, total);
    })?;
    assert!(records.is_empty() || last.0 == last.1, "progress ends at the end: {last:?}");
    Ok(records)
}

#[test]
fn a_plan_has_the_types_and_sizes_of_the_real_thing() {
    for store in [StoreAs::F16, StoreAs::Q8, StoreAs::Q4] {
        let types = |rounding: Rounding| {
            let mut graph = model();
            quantize(&mut graph, &recipe(store, &[]), rounding, &mut |_, _| ()).unwrap();
            assert_eq!(qwenc_ir::verify(&graph), Ok(()));
            qwenc_ir::text::print_brief(&graph)
        };
        assert_eq!(types(Rounding::Plan(StandIns::Plan)), types(Rounding::Round));
    }
}

#[test]
fn layers_and_lookups_read_codes_and_share_them() {
    let mut graph = model();
    let before = output(&graph);
    let records = rounded(&mut graph, &recipe(StoreAs::Q8, &[])).unwrap();
    assert_eq!(qwenc_ir::verify(&graph), Ok(()));
    let named: Vec<(&str, [usize; 2], &str)> =
        records.iter().map(|r| (r.name.as_str(), r.shape, r.used_by.as_str())).collect();
    assert_eq!(named, [("lm_head.weight", [40, 70], "embed"), ("mlp.up.weight", [70, 70], "mlp/up")]);
    let dequantized = graph.nodes().filter(|node| graph.node(*node).op.name() == "dequantize").count();
    assert_eq!(dequantized, 2, "the lookup and the head share one");
    let error = before.max_abs_diff(&output(&graph)).unwrap();
    assert!(error > 0.0 && error < 5e-3, "{error}");
    for record in &records {
        let error = record.error.unwrap();
        assert!(error.relative < 0.01 && error.relative < error.max_abs_rounding.unwrap());
    }
}

#[test]
fn exceptions_go_by_weight_or_node() {
    let mut graph = model();
    let records = rounded(&mut graph, &recipe(StoreAs::Q4, &["f16:embed", "keep:nothing*,*", "f32:lm_head"]));
    assert!(matches!(records, Err(RecipeError::NothingMatches { pattern, .. }) if pattern == "nothing*,*"));
    let mut graph = model();
    let records = rounded(&mut graph, &recipe(StoreAs::Q4, &["f16:embed", "f32:lm_head"])).unwrap();
    assert_eq!(records.iter().map(|record| record.stored).collect::<Vec<_>>(), [StoreAs::F16, StoreAs::Q4]);
    assert_eq!(records[0].kept_by.as_deref(), Some("embed"));
    assert_eq!(qwenc_ir::verify(&graph), Ok(()));
}

#[test]
fn keeping_everything_changes_nothing() {
    let mut graph = model();
    assert_eq!(rounded(&mut graph, &WeightRecipe::default()), Ok(Vec::new()));
    assert_eq!(qwenc_ir::text::print_brief(&graph), qwenc_ir::text::print_brief(&model()));
}

#[test]
fn what_a_format_cannot_hold_is_refused_by_name() {
    let text = MODEL.replace("seeded(2, -0.2, 0.2)", "seeded(2, -1e6, 1e6)");
    let mut graph = parse(&text, &ConstPool::new()).unwrap();
    let error = rounded(&mut graph, &recipe(StoreAs::F16, &[])).unwrap_err().to_string();
    assert!(error.contains("mlp.up.weight") && error.contains("--keep"), "{error}");
}
