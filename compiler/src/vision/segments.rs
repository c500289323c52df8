//! Attention of a vision encoder sees one frame of one image.

use qwenc_ir::op::attention;
use qwenc_ir::{Graph, Op};

use super::{SEGMENTS, VisionError};

/// Gives every attention the patches that each patch sees. Runs on the raised graph: attention that was not recognised
/// there would see all images at once, and is refused.
pub fn limit_to_segments(graph: &mut Graph) -> Result<usize, VisionError> {
    let Some(segments) = graph.inputs().iter().copied().find(|input| graph.value(*input).name == SEGMENTS)
    else {
        return Err(VisionError::Interface(format!("the graph has no input `{SEGMENTS}`")));
    };
    let mut count = 0;
    for node in graph.nodes().collect::<Vec<_>>() {
        let refused = |message: &str| {
            Err(VisionError::Attention { node: graph.node(node).name.clone(), message: message.to_string() })
        };
        match &graph.node(node).op {
            Op::Softmax { .. } => {
                return refused(
                    "it weights patches in a way that is not recognised as attention, so that images could not be kept \
                     apart (`qwenc inspect --why raise_attention`)",
                );
            }
            Op::Attention(attrs) => {
                if attrs.causal || attrs.present || graph.node_input(node, attention::MASK).is_some() {
                    return refused("its mask says something else than which image a patch belongs to");
                }
                graph.set_input(node, attention::SEGMENTS, Some(segments));
                count += 1;
            }
            _ => {}
        }
    }
    if count == 0 {
        return Err(VisionError::Interface("the graph has no attention".to_string()));
    }
    Ok(count)
}
