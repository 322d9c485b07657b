// SPDX-License-Identifier: Apache-2.0
// Tests of the built plugin, which is loaded as the host loads it. You can use any test framework, or none, as here.
#include <pipeline/testing/conformance.hpp>
#include <pipeline/testing/temp_dir.hpp>

#include <cstdio>

namespace {

using namespace pl::testing;

int failures = 0;

void expect(bool ok, const std::string& what) {
  if (ok) return;
  ++failures;
  std::fprintf(stderr, "FAILED: %s\n", what.c_str());
}

void the_plugin_conforms_to_the_interface(const pl_plugin& plugin, const temp_dir& dir) {
  const config_fields csv{{"path", dir / "odd.csv"}, {"columns", list({"time", "temperature"})}};
  for (const auto& problem : check_plugin(plugin)) expect(false, problem);
  for (const auto& problem : check_life(*find_component(plugin, "fahrenheit"), {}, {"temperature"}))
    expect(false, problem);
  for (const auto& problem : check_life(*find_component(plugin, "csv_sink"), csv, {"time", "temperature"}))
    expect(false, problem);
}

void a_text_is_rejected_and_the_other_rows_are_emitted(const pl_plugin& plugin) {
  fake_host host;
  instance transform(host, *find_component(plugin, "fahrenheit"));
  expect(transform.create() == PL_OK && transform.start() == PL_OK, host.error_text());
  {
    const auto in = host.make_batch({{"temperature", {pl::int_cell(100), pl::text_cell("warm"), pl::null_cell()}}});
    expect(transform.apply(in.get()) == PL_OK, host.error_text());
  }
  const auto out = transform.output().at(0).data.get();
  expect(out.selected() == 2, "two of three rows are emitted");
  expect(out.at(*out.find("temperature_f"), 0).as.f == 212.0, "100 °C are 212 °F");
  expect(pl::is_null(out.at(*out.find("temperature_f"), 2)), "null stays null");
  expect(host.rejects().size() == 1 && host.rejects()[0].reason == "'temperature' is not a number", "one is rejected");
  transform.output().clear();
  expect(host.live_batches() == 0, "all batches are released");
}

void fields_are_quoted_if_necessary(const pl_plugin& plugin, const temp_dir& dir) {
  fake_host host;
  instance sink(host, *find_component(plugin, "csv_sink"),
                {{"path", dir / "quoted.csv"}, {"columns", list({"time", "note"})}});
  expect(sink.create() == PL_OK && sink.start() == PL_OK, host.error_text());
  const auto rows = host.make_batch({{"note", {pl::text_cell("a \"b\", c"), pl::null_cell(), pl::real_cell(0.5)}},
                                     {"time", {pl::time_cell(0), pl::time_cell(1'500'000'000), pl::null_cell()}}});
  expect(sink.write(rows.get()) == PL_OK && sink.stop() == PL_OK, host.error_text());
  expect(host.sum("csv_rows_total") == 3, "three rows are counted");
  expect(read_file(dir / "quoted.csv") ==
             "time,note\n1970-01-01T00:00:00Z,\"a \"\"b\"\", c\"\n1970-01-01T00:00:01.5Z,\n,0.5\n",
         "content of the file: " + read_file(dir / "quoted.csv"));
}

void a_missing_folder_is_a_temporary_failure(const pl_plugin& plugin, const temp_dir& dir) {
  fake_host host;
  instance sink(host, *find_component(plugin, "csv_sink"),
                {{"path", dir / "missing/x.csv"}, {"columns", list({"time"})}});
  expect(sink.create() == PL_OK && sink.start() == PL_RETRY, "start returns PL_RETRY");
  expect(host.error_text().find("No such file or directory") != std::string::npos, host.error_text());
}

}  // namespace

int main(int argc, char** argv) {
  std::string error = "usage: thermometer_test thermometer.so";
  const auto* plugin = argc == 2 ? load_plugin(argv[1], error) : nullptr;
  if (plugin == nullptr) return std::fprintf(stderr, "%s\n", error.c_str()), 1;
  const temp_dir dir;
  the_plugin_conforms_to_the_interface(*plugin, dir);
  a_text_is_rejected_and_the_other_rows_are_emitted(*plugin);
  fields_are_quoted_if_necessary(*plugin, dir);
  a_missing_folder_is_a_temporary_failure(*plugin, dir);
  return failures == 0 ? 0 : 1;
}
