        // Scores of this subgroup's keys.
{%- for r in 0..2 %}
        var s{{ r }}: coop_mat16x16<f32, C>;
{%- endfor %}
{%- for d in 0..depth %}
        let key{{ d }} = coopLoad<coop_mat16x16<f16, B>>(&key_tile[subgroup * {{ 16 * 18 }}u + {{ 4 * d }}u], 18u);
{%- for r in 0..2 %}
        s{{ r }} = coopMultiplyAdd(q{{ r }}_{{ d }}, key{{ d }}, s{{ r }});
{%- endfor %}
{%- endfor %}
{%- for r in 0..2 %}
        coopStoreT(s{{ r }}, &scores[{{ 16 * r * 17 }}u + subgroup * 4u], 17u);
{%- endfor %}
