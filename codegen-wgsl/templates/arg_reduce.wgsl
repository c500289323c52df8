// Index of the {{ which }} element along axis {{ axis }} of {{ shape }}; of equal ones the {{ tie }}. NaN is passed over.
// {{ g.lanes }} lane(s) a line, {{ g.lines }} line(s) a workgroup.

{{ declarations }}
{{ functions -}}
// An element and its index; {{ none }} stands for nothing.
struct Entry {
    value: {{ elem }},
    index: u32,
}
{% if g.lanes > 1 %}
var<workgroup> partial: array<Entry, {{ g.size() }}>;
{% endif %}
fn better(a: Entry, b: Entry) -> bool {
    if (a.index == {{ none }} || b.index == {{ none }}) {
        return b.index == {{ none }} && a.index != {{ none }};
    }
    return a.value {{ order }} b.value || (a.value == b.value && a.index {{ tie_order }} b.index);
}

@compute @workgroup_size({{ g.size() }}, 1, 1)
fn main(@builtin(workgroup_id) wid: vec3<u32>, @builtin(local_invocation_index) lid: u32) {
    let lane = lid % {{ g.lanes }}u;
    let line = {{ g.unit }} * {{ g.lines }}u + lid / {{ g.lanes }}u;
    // Lines past the end take part in the barriers, but neither read nor write.
    let live = line < {{ g.count }};
    let length = select(0u, {{ length }}, live);
{{ split }}    let start = {{ start }};
    var best = Entry({{ zero }}, {{ none }});
    for (var r = lane; r < length; r += {{ g.lanes }}u) {
        let x = {{ input }}[start + {{ index }}];
        let entry = Entry(x, {% if float %}select(r, {{ none }}, is_nan(x)){% else %}r{% endif %});
        if (better(entry, best)) {
            best = entry;
        }
    }
{%- if g.lanes > 1 %}
    partial[lid] = best;
{%- for half in g.halves %}
    workgroupBarrier();
    if (lane < {{ half }}u) {
        if (better(partial[lid + {{ half }}u], partial[lid])) {
            partial[lid] = partial[lid + {{ half }}u];
        }
    }
{%- endfor %}
    workgroupBarrier();
    best = partial[lid - lane];
{%- endif %}
    if (live && lane == 0u) {
        {{ target }} = bitcast<i32>(select(best.index, 0u, best.index == {{ none }}));
    }
}
