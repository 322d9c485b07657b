/* SPDX-License-Identifier: Apache-2.0
 * The layout of version 1.0 of the plugin interface on 64-bit machines. This file compiles only if all members that a plugin
 * was built against have the same place: tables may grow at their ends, values and array elements must not change.
 */
#include <pipeline/abi.h>

#define AT(type, member, offset) _Static_assert(offsetof(type, member) == (offset), #type "." #member " has moved")
#define SIZE(type, bytes) _Static_assert(sizeof(type) == (bytes), "a value or an array element has changed: " #type)
#define AT_LEAST(type, bytes) _Static_assert(sizeof(type) >= (bytes), "a table has shrunk: " #type)

SIZE(pl_str, 16);
SIZE(pl_cell, 16);
AT(pl_cell, len, 4);
AT(pl_cell, as, 8);
SIZE(pl_schema, 16);
SIZE(pl_range, 64);
AT(pl_range, first, 16);
AT(pl_range, next, 24);
AT(pl_range, end, 32);
AT(pl_range, source, 40);
AT(pl_range, epoch, 56);
SIZE(pl_state_change, 56);
AT(pl_state_change, erase, 4);
AT(pl_state_change, node, 8);
AT(pl_state_change, key, 24);
AT(pl_state_change, value, 40);
SIZE(pl_position, 16);
SIZE(pl_option, 120);
AT(pl_option, key, 8);
AT(pl_option, doc, 24);
AT(pl_option, def, 40);
AT(pl_option, example, 56);
AT(pl_option, allowed, 72);
AT(pl_option, min, 88);
AT(pl_option, max, 96);
AT(pl_option, element, 104);
AT(pl_option, nfields, 108);
AT(pl_option, fields, 112);

AT_LEAST(pl_batch, 88);
AT(pl_batch, rows, 4);
AT(pl_batch, nsel, 8);
AT(pl_batch, nranges, 12);
AT(pl_batch, schema, 16);
AT(pl_batch, cols, 24);
AT(pl_batch, sel, 32);
AT(pl_batch, pos, 40);
AT(pl_batch, arrival, 48);
AT(pl_batch, origin, 56);
AT(pl_batch, ranges, 64);
AT(pl_batch, state_changes, 72);
AT(pl_batch, nstate_changes, 80);
AT(pl_batch, arrival_claimed, 84);

AT_LEAST(pl_host, 208);
AT(pl_host, lane, 4);
AT(pl_host, ctx, 16);
AT(pl_host, pipeline, 24);
AT(pl_host, node, 40);
AT(pl_host, state_dir, 56);
AT(pl_host, memory_limit, 72);
AT(pl_host, log_on, 80);
AT(pl_host, log, 88);
AT(pl_host, metric, 96);
AT(pl_host, record, 104);
AT(pl_host, error, 112);
AT(pl_host, schema, 120);
AT(pl_host, derive, 128);
AT(pl_host, alloc, 136);
AT(pl_host, pin, 144);
AT(pl_host, retain, 152);
AT(pl_host, release, 160);
AT(pl_host, reject, 168);
AT(pl_host, announced, 176);
AT(pl_host, assigned, 184);
AT(pl_host, revoked, 192);
AT(pl_host, extension, 200);

AT_LEAST(pl_component, 200);
AT(pl_component, role, 4);
AT(pl_component, caps, 8);
AT(pl_component, noptions, 12);
AT(pl_component, nports, 16);
AT(pl_component, name, 24);
AT(pl_component, doc, 40);
AT(pl_component, example, 56);
AT(pl_component, options, 72);
AT(pl_component, ports, 80);
AT(pl_component, create, 88);
AT(pl_component, check, 96);
AT(pl_component, start, 104);
AT(pl_component, stop, 112);
AT(pl_component, destroy, 120);
AT(pl_component, poll, 128);
AT(pl_component, settle, 136);
AT(pl_component, apply, 144);
AT(pl_component, tick, 152);
AT(pl_component, revoked, 160);
AT(pl_component, write, 168);
AT(pl_component, extension, 176);
AT(pl_component, dead_letters, 184);

AT_LEAST(pl_plugin, 56);
AT(pl_plugin, minor, 4);
AT(pl_plugin, ncomponents, 8);
AT(pl_plugin, name, 16);
AT(pl_plugin, version, 32);
AT(pl_plugin, components, 48);

SIZE(pl_columns, 16);
AT(pl_columns, kinds, 8);
SIZE(pl_state_watermark, 40);
AT(pl_state_watermark, key, 8);
AT(pl_state_watermark, value, 24);
SIZE(pl_bound, 16);
AT(pl_bound, value, 8);
SIZE(pl_window, 48);
AT(pl_window, first, 16);
AT(pl_window, next, 24);
AT(pl_window, oldest, 32);
AT(pl_window, newest, 40);
SIZE(pl_arrival, 24);
AT(pl_arrival, behind_ns, 8);
AT(pl_arrival, connected_ns, 16);

AT(pl_ext_columns, columns, 8);
AT(pl_ext_position_store, position, 8);
AT(pl_ext_position_store, claim, 16);
AT(pl_ext_position_store, load, 24);
AT(pl_ext_position_store, streams, 32);
AT(pl_ext_state, restore, 8);
AT(pl_ext_state, restored, 16);
AT(pl_ext_state, snapshot, 24);
AT(pl_host_state, put, 8);
AT(pl_host_state, set_stream, 16);
AT(pl_host_state, put_until_delivered, 24);
AT(pl_ext_replay, windows, 8);
AT(pl_ext_replay, select, 16);
AT(pl_ext_replay, reset_offsets, 24);
AT(pl_ext_rewrite, rewritable, 8);
AT(pl_ext_exclusive, uses, 8);
AT(pl_ext_ports, ports, 8);
AT(pl_ext_demand, used, 8);
AT(pl_host_on_demand, later, 8);
AT(pl_host_arrival, arrival, 8);
AT(pl_host_liveness, receiving, 8);
AT(pl_host_liveness, wanted, 16);
AT(pl_host_liveness, observed_end, 24);
AT(pl_host_early_reject, reject, 8);
AT(pl_host_early_reject, progress, 16);

int main(void) { return 0; }
