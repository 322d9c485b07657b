// SPDX-License-Identifier: Apache-2.0
// Broken configurations and the exact messages about each. A line break at the beginning of an expected text is
// ignored.
#include "config/test_support.hpp"

#include <doctest/doctest.h>

#include <string>
#include <string_view>
#include <vector>

namespace {

// A case appends its text after line 8, below sinks.store.
constexpr std::string_view base = R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: kafka:9092, topic: t}
sinks:
  store:
    plugin: timescale_sink
    from: telemetry
    url: ${DSN}
)";

std::string text_of(std::string_view literal) {
  return std::string(literal.starts_with('\n') ? literal.substr(1) : literal);
}

void expect(std::string_view yaml, std::string_view messages, const std::vector<std::string>& sets = {}) {
  CHECK(pl::config::test::messages(text_of(yaml), sets) == text_of(messages));
}

void expect_of_store(std::string_view yaml, std::string_view messages, const std::vector<std::string>& sets = {}) {
  CHECK(pl::config::test::messages(text_of(base) + text_of(yaml), sets) == text_of(messages));
}

}  // namespace

TEST_CASE("unknown options") {
  SUBCASE("misspelt") {
    expect_of_store("    tabel: raw_telemetry\n", R"(
c.yaml:9:5: error: unknown option 'tabel' for timescale_sink; did you mean 'table'?
    9 |     tabel: raw_telemetry
      |     ^~~~~
1 error
)");
  }
  SUBCASE("unlike any option") {
    expect_of_store("    xyzzy: 1\n", R"(
c.yaml:9:5: error: unknown option 'xyzzy' for timescale_sink; options are: url, table, port, tls, buffer, pool, columns, chunk, plugin, from, writers, batch, retry, queue, delivery, on_failure, ...
    9 |     xyzzy: <secret>
      |     ^~~~~
1 error
)");
  }
  SUBCASE("of another role") {
    expect_of_store("    lanes: 4\n", R"(
c.yaml:9:5: error: unknown option 'lanes' for timescale_sink; only sources have 'lanes'
    9 |     lanes: 4
      |     ^~~~~
1 error
)");
  }
  SUBCASE("misspelt option of the host") {
    expect_of_store("    bacth: {rows: 5}\n", R"(
c.yaml:9:5: error: unknown option 'bacth' for timescale_sink; did you mean 'batch'?
    9 |     bacth: {rows: 5}
      |     ^~~~~
1 error
)");
  }
  SUBCASE("misspelt inside an option of the host") {
    expect_of_store("    batch: {row: 5}\n", R"(
c.yaml:9:13: error: unknown option 'row' for 'batch' of the sink 'store'; did you mean 'rows'?
    9 |     batch: {row: 5}
      |             ^~~
1 error
)");
  }
  SUBCASE("misspelt inside an object") {
    expect_of_store(R"(
    pool:
      sise: 5
      timeout: 1s
)",
                    R"(
c.yaml:10:7: error: unknown option 'sise' for 'pool' of timescale_sink; did you mean 'size'?
   10 |       sise: 5
      |       ^~~~
1 error
)");
  }
  SUBCASE("misspelt at the top level") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: kafka:9092, topic: t}
sinks:
  store:
    plugin: timescale_sink
    from: telemetry
    url: ${DSN}
lane: 4
sink: {}
)",
           R"(
c.yaml:9:1: error: unknown option 'lane' for a pipeline; did you mean 'lanes'?
    9 | lane: 4
      | ^~~~
c.yaml:10:1: error: unknown option 'sink' for a pipeline; did you mean 'sinks'?
   10 | sink: {}
      | ^~~~
2 errors
)");
  }
  SUBCASE("inside a list of maps") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: [a, b], topic: t}
transforms:
  alerts:
    plugin: threshold_alert
    from: telemetry
    rules:
      - name: hot
        metrc: temperature
        above: 80
      - {name: cold, metric: temperature, for: 10, severity: critcal}
      - warm
sinks:
  notify: {plugin: file_sink, from: alerts, path: x}
)",
           R"(
c.yaml:9:9: error: 'rules[0]' of threshold_alert needs 'metric'; write for example 'metric: temperature'
    9 |       - name: hot
      |         ^
c.yaml:10:9: error: unknown option 'metrc' for 'rules[0]' of threshold_alert; did you mean 'metric'?
   10 |         metrc: temperature
      |         ^~~~~
c.yaml:12:48: error: 'for' must be a duration with a unit, got '10'; write 10ms or 10s
   12 |       - {name: cold, metric: temperature, for: 10, severity: critcal}
      |                                                ^~
c.yaml:12:62: error: 'severity' must be one of info, warning, critical, got 'critcal'; did you mean 'critical'?
   12 |       - {name: cold, metric: temperature, for: 10, severity: critcal}
      |                                                              ^~~~~~~
c.yaml:13:9: error: 'rules[2]' must be a map, got 'warm'; for example '{name: overheating}'
   13 |       - warm
      |         ^~~~
5 errors
)");
  }
}

TEST_CASE("values of the wrong kind") {
  SUBCASE("whole number") {
    expect_of_store("    port: many\n", R"(
c.yaml:9:11: error: 'port' must be a whole number, got 'many'
    9 |     port: many
      |           ^~~~
1 error
)");
  }
  SUBCASE("whole number with a fraction") {
    expect_of_store("    port: 5432.0\n", R"(
c.yaml:9:11: error: 'port' must be a whole number, got '5432.0'; write 5432
    9 |     port: 5432.0
      |           ^~~~~~
1 error
)");
  }
  SUBCASE("whole number with separators") {
    expect_of_store("    port: 5_432\n", R"(
c.yaml:9:11: error: 'port' must be a whole number, got '5_432'; write 5432
    9 |     port: 5_432
      |           ^~~~~
1 error
)");
  }
  SUBCASE("whole number with a leading zero") {
    expect_of_store("    port: 0432\n", R"(
c.yaml:9:11: error: 'port' must be a whole number, got '0432'; write 432
    9 |     port: 0432
      |           ^~~~
1 error
)");
  }
  SUBCASE("whole number from a variable") {
    expect_of_store("    port: ${WORD}\n", R"(
c.yaml:9:11: error: 'port' must be a whole number, got 'many' from ${WORD}
    9 |     port: ${WORD}
      |           ^~~~~~~
1 error
)");
  }
  SUBCASE("out of range") {
    expect_of_store(R"(
    port: 65536
    buffer: 10B
    pool: {timeout: 2m, size: 0}
)",
                    R"(
c.yaml:9:11: error: 'port' must be between 0 and 65535, got '65536'
    9 |     port: 65536
      |           ^~~~~
c.yaml:10:13: error: 'buffer' must be between 1KiB and 1GiB, got '10B'
   10 |     buffer: 10B
      |             ^~~
c.yaml:11:21: error: 'timeout' must be between 0 and 1m, got '2m'
   11 |     pool: {timeout: 2m, size: 0}
      |                     ^~
c.yaml:11:31: error: 'size' must be between 1 and 64, got '0'
   11 |     pool: {timeout: 2m, size: 0}
      |                               ^
4 errors
)");
  }
  SUBCASE("number") {
    expect_of_store(R"(
    retry: {multiplier: "1,5"}
)",
                    R"(
c.yaml:9:25: error: 'multiplier' must be a number, got '1,5'; write 1.5
    9 |     retry: {multiplier: "1,5"}
      |                         ^~~~~
1 error
)");
  }
  SUBCASE("true or false") {
    expect_of_store("    tls: yes\n", R"(
c.yaml:9:10: error: 'tls' must be true or false, got 'yes'; write true
    9 |     tls: yes
      |          ^~~
1 error
)");
  }
  SUBCASE("true or false, in upper case") {
    expect_of_store(R"(
    tls: "False"
)",
                    R"(
c.yaml:9:10: error: 'tls' must be true or false, got 'False'; write false
    9 |     tls: "False"
      |          ^~~~~~~
1 error
)");
  }
  SUBCASE("duration without unit") {
    expect_of_store("    batch: {delay: 100}\n", R"(
c.yaml:9:20: error: 'delay' must be a duration with a unit, got '100'; write 100ms or 100s
    9 |     batch: {delay: 100}
      |                    ^~~
1 error
)");
  }
  SUBCASE("duration with another unit spelling") {
    expect_of_store("    batch: {delay: 5 min}\n", R"(
c.yaml:9:20: error: 'delay' must be a duration, got '5 min'; write 5m
    9 |     batch: {delay: 5 min}
      |                    ^~~~~
1 error
)");
  }
  SUBCASE("duration that is not a number") {
    expect_of_store("    batch: {delay: soon}\n", R"(
c.yaml:9:20: error: 'delay' must be a duration, got 'soon'; for example 'delay: 100ms'
    9 |     batch: {delay: soon}
      |                    ^~~~
1 error
)");
  }
  SUBCASE("size with an abbreviated unit") {
    expect_of_store("    buffer: 64k\n", R"(
c.yaml:9:13: error: 'buffer' must be a size, got '64k'; write 64KiB
    9 |     buffer: 64k
      |             ^~~
1 error
)");
  }
  SUBCASE("size with an unknown unit") {
    expect_of_store("    buffer: 64 potatoes\n", R"(
c.yaml:9:13: error: 'buffer' must be a size, got '64 potatoes'; for example 'buffer: 1MiB'
    9 |     buffer: 64 potatoes
      |             ^~~~~~~~~~~
1 error
)");
  }
  SUBCASE("choice") {
    expect(R"(
name: iot
delivery: exactly-once
log: {level: loud}
sources:
  telemetry: {plugin: kafka_source, brokers: kafka:9092, topic: t}
sinks:
  store:
    plugin: timescale_sink
    from: telemetry
    url: ${DSN}
)",
           R"(
c.yaml:2:11: error: 'delivery' must be one of at_least_once, exactly_once, got 'exactly-once'; did you mean 'exactly_once'?
    2 | delivery: exactly-once
      |           ^~~~~~~~~~~~
c.yaml:3:14: error: 'level' must be one of trace, debug, info, warn, error, got 'loud'
    3 | log: {level: loud}
      |              ^~~~
2 errors
)");
  }
  SUBCASE("list instead of text") {
    expect_of_store("    table: [raw_telemetry]\n", R"(
c.yaml:9:12: error: 'table' must be text, got a list; put the text in quotes
    9 |     table: [raw_telemetry]
      |            ^
1 error
)");
  }
  SUBCASE("braces instead of text") {
    expect_of_store("    table: {device_id}\n", R"(
c.yaml:9:12: error: 'table' must be text, got a map; put the text in quotes
    9 |     table: {device_id}
      |            ^
c.yaml:9:13: error: 'device_id' is a key without a value; write 'key: value'
    9 |     table: {device_id}
      |             ^~~~~~~~~
2 errors
)");
  }
  SUBCASE("map instead of text") {
    expect_of_store(R"(
    table:
      name: raw
)",
                    R"(
c.yaml:9:5: error: 'table' must be text, got a map; for example 'table: raw_telemetry'
    9 |     table:
      |     ^~~~~
1 error
)");
  }
  SUBCASE("text instead of a map") {
    expect_of_store(R"(
    columns: temperature
    pool: 5
)",
                    R"(
c.yaml:9:14: error: 'columns' must be a map, got 'temperature'
    9 |     columns: temperature
      |              ^~~~~~~~~~~
c.yaml:10:11: error: 'pool' must be a map, got '5'; for example 'pool: {size: 2}'
   10 |     pool: 5
      |           ^
2 errors
)");
  }
  SUBCASE("text instead of a list of maps") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: {a: b}, topic: t}
transforms:
  alerts: {plugin: threshold_alert, from: telemetry, rules: hot}
sinks:
  notify: {plugin: file_sink, from: alerts, path: x}
)",
           R"(
c.yaml:3:46: error: 'brokers' must be a list, got a map; begin each item with '- '
    3 |   telemetry: {plugin: kafka_source, brokers: {a: b}, topic: t}
      |                                              ^
c.yaml:5:61: error: 'rules' must be a list, got 'hot'; begin each item with '- name: ...'
    5 |   alerts: {plugin: threshold_alert, from: telemetry, rules: hot}
      |                                                             ^~~
2 errors
)");
  }
  SUBCASE("no value") {
    expect_of_store(R"(
    table:
    port: ~
    columns:
)",
                    R"(
c.yaml:9:5: error: 'table' has no value; write "" for an empty text, or remove the line
    9 |     table:
      |     ^~~~~
c.yaml:10:5: error: 'port' has no value; write a value, or remove the line
   10 |     port: ~
      |     ^~~~
c.yaml:11:5: error: 'columns' has no value; write {} for an empty map, or remove the line
   11 |     columns:
      |     ^~~~~~~
3 errors
)");
  }
  SUBCASE("required option that is empty") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: kafka:9092, topic: t}
sinks:
  store:
    plugin: timescale_sink
    from: telemetry
    url: ${EMPTY}
)",
           R"(
c.yaml:8:10: error: 'url' is empty: it comes from ${EMPTY}; write for example 'url: postgresql://db/iot'
    8 |     url: <secret>
      |          ^~~~~~~~
1 error
)");
  }
  SUBCASE("deprecated") {
    expect_of_store("    chunk: 5\n", R"(
c.yaml:9:5: warning: 'chunk' is deprecated; Use buffer
    9 |     chunk: 5
      |     ^~~~~
1 warning
)");
  }
}

TEST_CASE("missing options") {
  SUBCASE("of a plugin") {
    expect(R"(
name: iot
sources:
  telemetry:
    plugin: kafka_source
sinks:
  store: {plugin: timescale_sink, from: telemetry}
)",
           R"(
c.yaml:3:3: error: kafka_source needs 'brokers'; write for example 'brokers: 127.0.0.1:9092'
    3 |   telemetry:
      |   ^~~~~~~~~
c.yaml:3:3: error: kafka_source needs 'topic'; write for example 'topic: iot-stream'
    3 |   telemetry:
      |   ^~~~~~~~~
c.yaml:6:3: error: timescale_sink needs 'url'; write for example 'url: postgresql://db/iot'
    6 |   store: {plugin: timescale_sink, from: telemetry}
      |   ^~~~~
3 errors
)");
  }
  SUBCASE("of the host") {
    expect(R"(
sources:
  telemetry: {brokers: a, topic: t}
sinks:
  store: {plugin: file_sink, path: x}
)",
           R"(
c.yaml:1:1: error: a pipeline needs 'name'; write for example 'name: iot'
    1 | sources:
      | ^
c.yaml:2:3: error: the source 'telemetry' needs 'plugin'; write for example 'plugin: kafka_source'
    2 |   telemetry: {brokers: a, topic: t}
      |   ^~~~~~~~~
c.yaml:4:3: error: the sink 'store' needs 'from'; write for example 'from: telemetry'
    4 |   store: {plugin: file_sink, path: x}
      |   ^~~~~
3 errors
)");
  }
}

TEST_CASE("the graph") {
  SUBCASE("dangling input, misspelt") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: kafka:9092, topic: t}
sinks:
  store:
    plugin: timescale_sink
    from: telemtry
    url: ${DSN}
)",
           R"(
c.yaml:7:11: error: no source or transform is named 'telemtry'; did you mean 'telemetry'?
    7 |     from: telemtry
      |           ^~~~~~~~
1 error
)");
  }
  SUBCASE("dangling input, a plugin's name") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: kafka:9092, topic: t}
sinks:
  store:
    plugin: timescale_sink
    from: kafka_source
    url: ${DSN}
)",
           R"(
c.yaml:7:11: error: no source or transform is named 'kafka_source'; the node with the plugin kafka_source is named 'telemetry'
    7 |     from: kafka_source
      |           ^~~~~~~~~~~~
1 error
)");
  }
  SUBCASE("dangling input, unlike any name") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: kafka:9092, topic: t}
sinks:
  store:
    plugin: timescale_sink
    from: [x, telemetry]
    url: ${DSN}
)",
           R"(
c.yaml:7:12: error: no source or transform is named 'x'; available: telemetry
    7 |     from: [x, telemetry]
      |            ^
1 error
)");
  }
  SUBCASE("unknown port") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: a, topic: t}
transforms:
  parsed: {plugin: json_telemetry, from: telemetry.in}
sinks:
  store: {plugin: file_sink, from: parsed.invalit, path: x}
)",
           R"(
c.yaml:5:42: error: 'telemetry' (kafka_source) has no output 'in'; outputs are: out
    5 |   parsed: {plugin: json_telemetry, from: telemetry.in}
      |                                          ^~~~~~~~~~~~
c.yaml:7:36: error: 'parsed' (json_telemetry) has no output 'invalit'; did you mean 'invalid'?
    7 |   store: {plugin: file_sink, from: parsed.invalit, path: x}
      |                                    ^~~~~~~~~~~~~~
2 errors
)");
  }
  SUBCASE("a cycle") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: a, topic: t}
transforms:
  a: {plugin: json_telemetry, from: [telemetry, c]}
  b: {plugin: json_telemetry, from: a}
  c: {plugin: json_telemetry, from: b}
  d: {plugin: json_telemetry, from: d}
sinks:
  store: {plugin: file_sink, from: [c, d], path: x}
)",
           R"(
c.yaml:6:37: error: the transforms form a cycle: a -> b -> c -> a; make one of them read from a source instead
    6 |   b: {plugin: json_telemetry, from: a}
      |                                     ^
c.yaml:8:37: error: the transforms form a cycle: d -> d; make one of them read from a source instead
    8 |   d: {plugin: json_telemetry, from: d}
      |                                     ^
2 errors
)");
  }
  SUBCASE("a node that no other node reads") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: a, topic: t}
  other: {plugin: kafka_source, brokers: a, topic: t}
transforms:
  parsed: {plugin: json_telemetry, from: telemetry}
sinks:
  store: {plugin: file_sink, from: telemetry, path: x}
)",
           R"(
c.yaml:4:3: error: nothing reads from the source 'other'; add 'from: other' to a transform or a sink, or remove it
    4 |   other: {plugin: kafka_source, brokers: a, topic: t}
      |   ^~~~~
c.yaml:6:3: warning: nothing reads from the transform 'parsed', so its rows are discarded; add 'from: parsed' to a transform or a sink, or remove it
    6 |   parsed: {plugin: json_telemetry, from: telemetry}
      |   ^~~~~~
1 error, 1 warning
)");
  }
  SUBCASE("duplicate name") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: a, topic: t}
transforms:
  store: {plugin: json_telemetry, from: telemetry}
sinks:
  store: {plugin: file_sink, from: store, path: x}
)",
           R"(
c.yaml:7:3: error: the name 'store' is already used by a transform; names must be unique across sources, transforms and sinks
    7 |   store: {plugin: file_sink, from: store, path: x}
      |   ^~~~~
c.yaml:5:3: note: first used here
    5 |   store: {plugin: json_telemetry, from: telemetry}
      |   ^~~~~
1 error
)");
  }
  SUBCASE("reading from a sink") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: a, topic: t}
sinks:
  store: {plugin: file_sink, from: telemetry, path: x}
  copy: {plugin: file_sink, from: store, path: x}
  more: {plugin: file_sink, from: dead_letters, path: x}
dead_letters: {plugin: file_sink, path: x, from: store, lanes: 2}
)",
           R"(
c.yaml:6:35: error: 'store' is a sink, and sinks have no output; read from 'telemetry', the input of the sink
    6 |   copy: {plugin: file_sink, from: store, path: x}
      |                                   ^~~~~
c.yaml:7:35: error: 'dead_letters' is a sink, and sinks have no output
    7 |   more: {plugin: file_sink, from: dead_letters, path: x}
      |                                   ^~~~~~~~~~~~
c.yaml:8:44: error: dead_letters has no 'from'; remove it: dead letters come from all nodes
    8 | dead_letters: {plugin: file_sink, path: x, from: store, lanes: 2}
      |                                            ^~~~
c.yaml:8:57: error: unknown option 'lanes' for file_sink; dead_letters has no 'lanes'
    8 | dead_letters: {plugin: file_sink, path: x, from: store, lanes: 2}
      |                                                         ^~~~~
4 errors
)");
  }
  SUBCASE("a sink that delivers exactly once and leaves rows out") {
    expect(R"(
name: iot
delivery: exactly_once
sources:
  telemetry: {plugin: kafka_source, brokers: a, topic: t}
sinks:
  store: {plugin: file_sink, from: telemetry, path: x, when_full: drop_oldest}
  copy: {plugin: file_sink, from: telemetry, path: y, retry: {give_up_after: 1s}, on_failure: dead_letters}
  hook: {plugin: file_sink, from: telemetry, path: z, delivery: at_least_once, when_full: drop_newest}
dead_letters: {plugin: file_sink, path: x, when_full: drop_oldest}
)",
           R"(
c.yaml:6:67: error: 'store' delivers exactly once, so it cannot drop rows (when_full: drop_oldest); remove 'when_full', or set 'delivery: at_least_once' on this sink
    6 |   store: {plugin: file_sink, from: telemetry, path: x, when_full: drop_oldest}
      |                                                                   ^~~~~~~~~~~
c.yaml:7:95: error: 'copy' delivers exactly once, so it cannot give up on rows (on_failure: dead_letters); remove 'on_failure', or set 'delivery: at_least_once' on this sink
    7 |   copy: {plugin: file_sink, from: telemetry, path: y, retry: {give_up_after: 1s}, on_failure: dead_letters}
      |                                                                                               ^~~~~~~~~~~~
c.yaml:9:55: error: 'when_full' must be one of wait, discard, got 'drop_oldest'
    9 | dead_letters: {plugin: file_sink, path: x, when_full: drop_oldest}
      |                                                       ^~~~~~~~~~~
3 errors
)");
  }
  SUBCASE("a sink that never gives up, and an unknown policy") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: a, topic: t}
sinks:
  hook: {plugin: file_sink, from: telemetry, path: x, on_failure: dead_letters}
  copy: {plugin: file_sink, from: telemetry, path: y, when_full: drop}
)",
           R"(
c.yaml:5:67: error: 'hook' never gives up, so 'on_failure: dead_letters' has no effect; set for how long a failed write is retried, for example 'retry: {give_up_after: 30s}'
    5 |   hook: {plugin: file_sink, from: telemetry, path: x, on_failure: dead_letters}
      |                                                                   ^~~~~~~~~~~~
c.yaml:6:66: error: 'when_full' must be one of block, drop_newest, drop_oldest, got 'drop'; did you mean 'drop_newest'?
    6 |   copy: {plugin: file_sink, from: telemetry, path: y, when_full: drop}
      |                                                                  ^~~~
2 errors
)");
  }
  SUBCASE("duplicate input") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: kafka:9092, topic: t}
sinks:
  store:
    plugin: timescale_sink
    from: [telemetry, telemetry]
    url: ${DSN}
)",
           R"(
c.yaml:7:23: error: 'telemetry' is listed twice; each record would arrive twice
    7 |     from: [telemetry, telemetry]
      |                       ^~~~~~~~~
1 error
)");
  }
  SUBCASE("no source and no sink") {
    expect(R"(
name: iot
sources: {}
)",
           R"(
c.yaml:1:7: error: the pipeline has no sink; add one below 'sinks:'
    1 | name: iot
      |       ^~~
c.yaml:2:10: error: the pipeline has no source; add one below 'sources:'
    2 | sources: {}
      |          ^
2 errors
)");
  }
  SUBCASE("invalid names") {
    expect(R"(
name: iot/1
sources:
  tele.metry: {plugin: kafka_source, brokers: a, topic: t}
  dead_letters: {plugin: kafka_source, brokers: a, topic: t}
sinks:
  "": {plugin: file_sink, from: telemetry, path: x}
)",
           R"(
c.yaml:1:7: error: 'iot/1' is not a valid pipeline name; use letters, digits, '_', '-' and '.'
    1 | name: iot/1
      |       ^~~~~
c.yaml:3:3: error: 'tele.metry' is not a valid source name; use letters, digits, '_' and '-'
    3 |   tele.metry: {plugin: kafka_source, brokers: a, topic: t}
      |   ^~~~~~~~~~
c.yaml:4:3: error: the name 'dead_letters' is reserved; write dead_letters at the top level, or choose another name
    4 |   dead_letters: {plugin: kafka_source, brokers: a, topic: t}
      |   ^~~~~~~~~~~~
c.yaml:6:3: error: '' is not a valid sink name; use letters, digits, '_' and '-'
    6 |   "": {plugin: file_sink, from: telemetry, path: x}
      |   ^~
4 errors
)");
  }
  SUBCASE("invalid nodes") {
    expect(R"(
name: iot
sources:
  a: kafka_source
  b:
sinks: [x]
)",
           R"(
c.yaml:3:6: error: the source 'a' has no options; write at least 'a: {plugin: ...}'
    3 |   a: kafka_source
      |      ^~~~~~~~~~~~
c.yaml:4:3: error: the source 'b' has no options; write at least 'b: {plugin: ...}'
    4 |   b:
      |   ^
c.yaml:5:8: error: 'sinks' must be a map of names to sinks; write the name of each sink and its options below it
    5 | sinks: [x]
      |        ^
3 errors
)");
  }
  SUBCASE("unknown plugin") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_sorce, brokers: a, topic: t}
sinks:
  store: {plugin: kafka_source, from: telemetry}
  other: {plugin: mongodb, from: telemetry}
)",
           R"(
c.yaml:3:23: error: unknown plugin 'kafka_sorce'; did you mean 'kafka_source'?
    3 |   telemetry: {plugin: kafka_sorce, brokers: a, topic: t}
      |                       ^~~~~~~~~~~
c.yaml:5:19: error: 'kafka_source' is a source, not a sink; sinks are: file_sink, timescale_sink
    5 |   store: {plugin: kafka_source, from: telemetry}
      |                   ^~~~~~~~~~~~
c.yaml:6:19: error: unknown plugin 'mongodb'; sinks are: file_sink, timescale_sink
    6 |   other: {plugin: mongodb, from: telemetry}
      |                   ^~~~~~~
3 errors
)");
  }
  SUBCASE("initial delay longer than the maximum") {
    expect_of_store("    retry: {initial: 1m}\n", R"(
c.yaml:9:22: error: 'retry.initial' is longer than 'retry.max'; the first delay must not exceed the longest
    9 |     retry: {initial: 1m}
      |                      ^~
1 error
)");
  }
  SUBCASE("listen address") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: kafka:9092, topic: t}
sinks:
  store:
    plugin: timescale_sink
    from: telemetry
    url: ${DSN}
http: {listen: 9464}
)",
           R"(
c.yaml:9:16: error: 'listen' must be host:port or off, got '9464'; for example 127.0.0.1:9464
    9 | http: {listen: 9464}
      |                ^~~~
1 error
)");
  }
  SUBCASE("http: off") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: kafka:9092, topic: t}
sinks:
  store:
    plugin: timescale_sink
    from: telemetry
    url: ${DSN}
http: off
)",
           R"(
c.yaml:9:7: error: 'http' must be a map, got 'off'; for example 'http: {listen: off}'
    9 | http: off
      |       ^~~
1 error
)");
  }
}

TEST_CASE("YAML") {
  SUBCASE("tab") {
    expect("name: iot\nsources:\n\ttelemetry: {plugin: kafka_source}\n", R"(
c.yaml:3:1: error: a tab is not allowed as indentation; use spaces
    3 |  telemetry: {plugin: kafka_source}
      | ^
1 error
)");
  }
  SUBCASE("tab in the middle") {
    expect("name: iot\nsources:\n  telemetry:\n    plugin: a\n\ttopic: t\n", R"(
c.yaml:5:1: error: a tab is not allowed as indentation; use spaces
    5 |  topic: t
      | ^
1 error
)");
  }
  SUBCASE("duplicate key") {
    expect(R"(
name: iot
name: iot2
sources: {a: {plugin: kafka_source, brokers: a, topic: t, topic: u}}
sinks: {b: {plugin: file_sink, from: a, path: x}}
)",
           R"(
c.yaml:2:1: error: 'name' is written twice; remove one of them
    2 | name: iot2
      | ^~~~
c.yaml:1:1: note: first written here
    1 | name: iot
      | ^~~~
c.yaml:3:59: error: 'topic' is written twice; remove one of them
    3 | sources: {a: {plugin: kafka_source, brokers: a, topic: t, topic: u}}
      |                                                           ^~~~~
c.yaml:3:49: note: first written here
    3 | sources: {a: {plugin: kafka_source, brokers: a, topic: t, topic: u}}
      |                                                 ^~~~~
2 errors
)");
  }
  SUBCASE("unclosed quote") {
    expect(R"(
name: "iot
sources: {}
)",
           R"(
c.yaml:1:7: error: this quote is never closed; add the closing "
    1 | name: "iot
      |       ^
1 error
)");
  }
  SUBCASE("unclosed bracket") {
    expect(R"(
name: iot
sources:
  a: {plugin: kafka_source, brokers: [a, b
  b: {}
)",
           R"(
c.yaml:3:38: error: this '[' is not closed; add the ']', or a comma between two items
    3 |   a: {plugin: kafka_source, brokers: [a, b
      |                                      ^
1 error
)");
  }
  SUBCASE("extra bracket") {
    expect(R"(
name: iot
sources: {}}
)",
           R"(
c.yaml:2:12: error: this '}' closes nothing; remove it, or put the value in quotes
    2 | sources: {}}
      |            ^
1 error
)");
  }
  SUBCASE("a reference in braces") {
    expect(R"(
name: iot
sources: {a: {plugin: kafka_source, topic: ${TOPIC:-t}}}
)",
           R"(
c.yaml:2:44: error: inside { } and [ ] a reference needs quotes; write "${TOPIC:-t}"
    2 | sources: {a: {plugin: kafka_source, topic: ${TOPIC:-t}}}
      |                                            ^~~~~~~~~~~
1 error
)");
  }
  SUBCASE("extra colon") {
    expect("name: iot: 2\n", R"(
c.yaml:1:10: error: a second ': ' in one line; put the value in quotes
    1 | name: iot: 2
      |          ^
1 error
)");
  }
  SUBCASE("colon without a space") {
    expect(R"(
name: iot
state_dir:state
sources: {}
)",
           R"(
c.yaml:2:1: error: 'state_dir:state' is a key without a value; put a space after the colon: 'state_dir: state'
    2 | state_dir:state
      | ^~~~~~~~~~~~~~~
1 error
)");
  }
  SUBCASE("colon without a space, at the end") {
    expect(R"(
name: iot
sinks: {a: {plugin: file_sink, from: b, path: x}}
sources: {b: {plugin: kafka_source, brokers: a, topic: t}}
state_dir:state
)",
           R"(
c.yaml:4:1: error: 'state_dir:state' is a key without a value; put a space after the colon: 'state_dir: state'
    4 | state_dir:state
      | ^~~~~~~~~~~~~~~
1 error
)");
  }
  SUBCASE("indented too far") {
    expect(R"(
name: iot
  state_dir: state
)",
           R"(
c.yaml:2:3: error: this line is indented deeper than the one above, which already has its value; align it, or remove the value above
    2 |   state_dir: state
      |   ^~~~~~~~~
1 error
)");
  }
  SUBCASE("indented too little") {
    expect(R"(
sources:
    telemetry:
      plugin: a
   other:
      plugin: b
)",
           R"(
c.yaml:4:4: error: this line is not aligned with any line above; correct its indentation
    4 |    other:
      |    ^
1 error
)");
  }
  SUBCASE("a list item among keys") {
    expect(R"(
name: iot
- sources
)",
           R"(
c.yaml:2:1: error: a list item between the keys of a map; indent it below its key, or remove the '-'
    2 | - sources
      | ^
1 error
)");
  }
  SUBCASE("a list item after a key") {
    expect("name: - iot\n", R"(
c.yaml:1:7: error: a list item can't begin here; put it on a separate line, or write [a, b]
    1 | name: - iot
      |       ^
1 error
)");
  }
  SUBCASE("an alias without anchor") {
    expect("name: *iot\n", R"(
c.yaml:1:7: error: no anchor '&iot' before this alias; define it, or put the value in quotes if no alias is meant
    1 | name: *iot
      |       ^~~~
1 error
)");
  }
  SUBCASE("an expression that YAML reads as a tag and an anchor") {
    expect(R"(
name: iot
sources:
  b:
    plugin: kafka_source
    brokers: a
    topic: !ok && temperature > 3
sinks: {a: {plugin: file_sink, from: b, path: x}}
)",
           R"(
c.yaml:6:12: error: a value can't begin with '!': YAML reads '!ok' as a tag; put the value in quotes
    6 |     topic: !ok && temperature > 3
      |            ^~~
1 error
)");
  }
  SUBCASE("a tag without a value") {
    expect(R"(
name: iot
sources: {b: {plugin: kafka_source, brokers: a, topic: t, group: !ok}}
sinks: {a: {plugin: file_sink, from: b, path: x}}
)",
           R"(
c.yaml:2:66: error: a value can't begin with '!': YAML reads '!ok' as a tag; put the value in quotes
    2 | sources: {b: {plugin: kafka_source, brokers: a, topic: t, group: !ok}}
      |                                                                  ^~~
1 error
)");
  }
  SUBCASE("tags in lists, of lists, and of double negations") {
    expect(R"(
name: iot
x-one: [!a b, ! c, !!ok d, !<x> e]
x-two: !list [a]
sources: {b: {plugin: kafka_source, brokers: a, topic: t}}
sinks: {a: {plugin: file_sink, from: b, path: x}}
)",
           R"(
c.yaml:2:9: error: a value can't begin with '!': YAML reads '!a' as a tag; put the value in quotes
    2 | x-one: [!a b, ! c, !!ok d, !<x> e]
      |         ^~
c.yaml:2:15: error: a value can't begin with '!': YAML reads '!' as a tag; put the value in quotes
    2 | x-one: [!a b, ! c, !!ok d, !<x> e]
      |               ^
c.yaml:2:20: error: a value can't begin with '!': YAML reads '!!ok' as a tag; put the value in quotes
    2 | x-one: [!a b, ! c, !!ok d, !<x> e]
      |                    ^~~~
c.yaml:2:28: error: a value can't begin with '!': YAML reads '!<x>' as a tag; put the value in quotes
    2 | x-one: [!a b, ! c, !!ok d, !<x> e]
      |                            ^~~~
c.yaml:3:8: error: a value can't begin with '!': YAML reads '!list' as a tag; put the value in quotes
    3 | x-two: !list [a]
      |        ^~~~~
5 errors
)");
  }
  SUBCASE("an anchor that no alias uses") {
    expect(R"(
name: iot
sources: {b: {plugin: kafka_source, brokers: a, topic: &t x, group: "&g"}}
sinks: {a: {plugin: file_sink, from: b, path: x}}
)",
           R"(
c.yaml:2:56: error: a value can't begin with '&': YAML reads '&t' as an anchor, and no alias uses it; put the value in quotes, or remove the anchor
    2 | sources: {b: {plugin: kafka_source, brokers: a, topic: &t x, group: "&g"}}
      |                                                        ^~
1 error
)");
  }
  SUBCASE("an expression that begins with an alias") {
    expect(R"(
name: iot
x-limit: &limit 80
sources: {b: {plugin: kafka_source, brokers: a, topic: *limit > 3}}
sinks: {a: {plugin: file_sink, from: b, path: x}}
)",
           R"(
c.yaml:3:63: error: a value can't begin with '>'; put it in quotes
    3 | sources: {b: {plugin: kafka_source, brokers: a, topic: *limit > 3}}
      |                                                               ^
1 error
)");
  }
  SUBCASE("an expression in a block that begins with an alias") {
    expect(R"(
name: iot
x-limit: &limit 80
sources:
  b:
    plugin: kafka_source
    topic: *limit > 3
)",
           R"(
c.yaml:6:21: error: a value that begins with '>' or '|' is a block of text on the lines below; put the value in quotes
    6 |     topic: *limit > 3
      |                     ^
1 error
)");
  }
  SUBCASE("an expression that begins with '>'") {
    expect("name: > 3\n", R"(
c.yaml:1:9: error: a value that begins with '>' or '|' is a block of text on the lines below; put the value in quotes
    1 | name: > 3
      |         ^
1 error
)");
  }
  SUBCASE("a star") {
    expect("name: *\n", R"(
c.yaml:1:8: error: a value that begins with '*' or '&' is an alias or an anchor; put it in quotes
    1 | name: *
      |        ^
1 error
)");
  }
  SUBCASE("an alias within its anchor") {
    expect(R"(
name: iot
x-loop: &loop [*loop]
sources: {b: {plugin: kafka_source, brokers: a, topic: t}}
sinks: {a: {plugin: file_sink, from: b, path: x}}
)",
           R"(
c.yaml:2:16: error: an alias must not be inside its own value
    2 | x-loop: &loop [*loop]
      |                ^~~~~
1 error
)");
  }
  SUBCASE("a character that YAML reserves") {
    expect("name: @iot\n", R"(
c.yaml:1:7: error: a value can't begin with '@'; put it in quotes
    1 | name: @iot
      |       ^
1 error
)");
  }
  SUBCASE("an escape") {
    expect(R"(
name: "\d"
)",
           R"(
c.yaml:1:10: error: an unknown '\' escape in double quotes; write '\\', or use single quotes
    1 | name: "\d"
      |          ^
1 error
)");
  }
  SUBCASE("text after quotes") {
    expect("name: 'iot' 2\n", R"(
c.yaml:1:13: error: unexpected text after the value; put the whole value in quotes
    1 | name: 'iot' 2
      |             ^
1 error
)");
  }
  SUBCASE("a key that is a list") {
    expect(R"(
name: iot
? [a]
: b
sources: {b: {plugin: kafka_source, brokers: a, topic: t}}
sinks: {a: {plugin: file_sink, from: b, path: x}}
)",
           R"(
c.yaml:2:3: error: a key must be a plain word
    2 | ? [a]
      |   ^
1 error
)");
  }
  SUBCASE("a merge of a value that is not a map") {
    expect(R"(
name: iot
sources:
  telemetry: {plugin: kafka_source, brokers: kafka:9092, topic: t}
sinks:
  store:
    <<: text
    plugin: timescale_sink
    from: telemetry
    url: ${DSN}
)",
           R"(
c.yaml:6:5: error: '<<' can only merge a map; write '<<: *name' with the anchor of a map
    6 |     <<: text
      |     ^~
1 error
)");
  }
  SUBCASE("a list") {
    expect("- name: iot\n", R"(
c.yaml:1:1: error: a pipeline must be a map, got a list; begin with 'name: ...'
    1 | - name: iot
      | ^
1 error
)");
  }
  SUBCASE("text") {
    expect("just text\n", R"(
c.yaml:1:1: error: a pipeline must be a map, got a single value; begin with 'name: ...'
    1 | just text
      | ^~~~~~~~~
1 error
)");
  }
  SUBCASE("nothing") {
    expect("", R"(
c.yaml: error: the file contains no pipeline: it is empty or has only comments; write at least name, sources and sinks
1 error
)");
  }
  SUBCASE("punctuation alone") {
    expect(", name: iot\n", R"(
c.yaml:1:1: error: unexpected text; remove it, or put the value in quotes
    1 | , name: iot
      | ^
1 error
)");
  }
  SUBCASE("comments") {
    expect(R"(
# name: iot
---
# nothing
)",
           R"(
c.yaml: error: the file contains no pipeline: it is empty or has only comments; write at least name, sources and sinks
1 error
)");
  }
  SUBCASE("invalid UTF-8") {
    expect("name: i\303ot\n", R"(
c.yaml:1:8: error: this is not valid UTF-8; save the file as UTF-8
    1 | name: i\xc3ot
      |        ^~~~
1 error
)");
  }
  SUBCASE("a control character") {
    expect("name: i\007ot\n", R"(
c.yaml:1:8: error: a control character; remove it, or write it as an escape in quotes
    1 | name: i\x07ot
      |        ^~~~
1 error
)");
  }
}

TEST_CASE("references") {
  SUBCASE("unset") {
    expect_of_store("    table: raw_${TABLE}_${DSN}\n", R"(
c.yaml:9:16: error: the variable TABLE is not set; set it, or write ${TABLE:-default}
    9 |     table: raw_${TABLE}_${DSN}
      |                ^~~~~~~~
1 error
)");
  }
  SUBCASE("unset, with a message") {
    expect_of_store("    table: ${TABLE:?the table to write}\n", R"(
c.yaml:9:12: error: the variable TABLE is not set: the table to write
    9 |     table: ${TABLE:?the table to write}
      |            ^~~~~~~~~~~~~~~~~~~~~~~~~~~~
1 error
)");
  }
  SUBCASE("empty, with a message") {
    expect_of_store("    table: ${EMPTY:?the table to write}\n", R"(
c.yaml:9:12: error: the variable EMPTY is empty: the table to write
    9 |     table: ${EMPTY:?the table to write}
      |            ^~~~~~~~~~~~~~~~~~~~~~~~~~~~
1 error
)");
  }
  SUBCASE("not closed") {
    expect_of_store("    table: ${TABLE\n", R"(
c.yaml:9:12: error: '${' without a closing '}'; close it, or write '$${' for a plain '${'
    9 |     table: ${TABLE
      |            ^~
1 error
)");
  }
  SUBCASE("invalid name") {
    expect_of_store("    table: ${1TABLE} ${TABLE-x}\n", R"(
c.yaml:9:12: error: '${1TABLE}' is not a valid reference; write ${NAME}, ${NAME:-default}, ${NAME:?message} or ${file:/path}; '$${' for a plain '${'
    9 |     table: ${1TABLE} ${TABLE-x}
      |            ^~~~~~~~~
c.yaml:9:22: error: '${TABLE-x}' is not a valid reference; write ${NAME}, ${NAME:-default}, ${NAME:?message} or ${file:/path}; '$${' for a plain '${'
    9 |     table: ${1TABLE} ${TABLE-x}
      |                      ^~~~~~~~~~
2 errors
)");
  }
  SUBCASE("not UTF-8") {
    expect_of_store("    table: ${BAD}\n", R"(
c.yaml:9:12: error: the variable BAD is not valid UTF-8
    9 |     table: ${BAD}
      |            ^~~~~~
1 error
)");
  }
  SUBCASE("missing file") {
    expect_of_store("    table: ${file:/run/secrets/nothing}\n", R"(
c.yaml:9:12: error: can't read the file '/run/secrets/nothing': No such file or directory
    9 |     table: ${file:/run/secrets/nothing}
      |            ^~~~~~~~~~~~~~~~~~~~~~~~~~~~
1 error
)");
  }
  SUBCASE("binary file") {
    expect_of_store("    table: ${file:/run/secrets/binary}\n", R"(
c.yaml:9:12: error: the file '/run/secrets/binary' is not text (UTF-8)
    9 |     table: ${file:/run/secrets/binary}
      |            ^~~~~~~~~~~~~~~~~~~~~~~~~~~
1 error
)");
  }
  SUBCASE("in a default") {
    expect_of_store("    table: ${TABLE:-${OTHER}}\n", R"(
c.yaml:9:21: error: the variable OTHER is not set; set it, or write ${OTHER:-default}
    9 |     table: ${TABLE:-${OTHER}}
      |                     ^~~~~~~~
1 error
)");
  }
}

TEST_CASE("--set") {
  SUBCASE("wrong kind") {
    expect_of_store("", R"(
--set sinks.store.batch.rows=many: error: 'rows' must be a whole number, got 'many'; for example 'rows: 1000'
1 error
)",
                    {"sinks.store.batch.rows=many"});
  }
  SUBCASE("unknown") {
    expect_of_store("", R"(
--set foo.bar=1: error: unknown option 'foo' for a pipeline; options are: name, delivery, lanes, memory_limit, shutdown_timeout, slow_call, state_dir, http, log, sources, transforms, sinks, dead_letters
--set sinks.store.tabel=x: error: unknown option 'tabel' for timescale_sink; did you mean 'table'?
2 errors
)",
                    {"sinks.store.tabel=x", "foo.bar=1"});
  }
  SUBCASE("unknown node") {
    expect_of_store("", R"(
--set sinks.stroe.batch.rows=5: error: there is no sink 'stroe'; did you mean 'store'?
1 error
)",
                    {"sinks.stroe.batch.rows=5"});
  }
  SUBCASE("no path") {
    expect_of_store("", R"(
--set rows: error: must have the form path=value; for example sinks.store.batch.rows=500 or transforms.alerts.rules[0].above=80
--set .a=1: error: must have the form path=value; for example sinks.store.batch.rows=500 or transforms.alerts.rules[0].above=80
--set a..b=1: error: must have the form path=value; for example sinks.store.batch.rows=500 or transforms.alerts.rules[0].above=80
--set a[x]=1: error: must have the form path=value; for example sinks.store.batch.rows=500 or transforms.alerts.rules[0].above=80
--set =1: error: must have the form path=value; for example sinks.store.batch.rows=500 or transforms.alerts.rules[0].above=80
--set [0]=1: error: must have the form path=value; for example sinks.store.batch.rows=500 or transforms.alerts.rules[0].above=80
6 errors
)",
                    {"rows", ".a=1", "a..b=1", "a[x]=1", "=1", "[0]=1"});
  }
  SUBCASE("not YAML") {
    expect_of_store("", R"(
--set sinks.store.columns={a: b: error: this '{' is not closed; add the '}', or a comma between two items
--set lanes=1: 2: error: 'lanes' must be a whole number, got a map; for example 'lanes: 1'
2 errors
)",
                    {"sinks.store.columns={a: b", "lanes=1: 2"});
  }
  SUBCASE("not a map, not a list") {
    expect_of_store("", R"(
--set name.x=1: error: 'name' has no 'x': it is not a map
--set sources.telemetry.brokers[0]=a: error: 'sources.telemetry.brokers' has no [0]: it is not a list
--set sinks.store.columns[0]=1: error: 'columns' must be a map, got a list
3 errors
)",
                    {"name.x=1", "sinks.store.columns[0]=1", "sources.telemetry.brokers[0]=a"});
  }
  SUBCASE("beyond the end") {
    expect_of_store(R"(
    columns: {}
    #: [telemetry]
)",
                    R"(
--set sinks.store.from[7]=a: error: 'sinks.store.from' has no [7]: it is not a list
1 error
)",
                    {"sinks.store.from[7]=a"});
  }
  SUBCASE("no value") {
    expect_of_store("", R"(
--set lanes=~: error: 'lanes' has no value; write a value, or remove the line
1 error
)",
                    {"lanes=~"});
  }
}
