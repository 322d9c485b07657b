// SPDX-License-Identifier: Apache-2.0
#include "options.hpp"

namespace json_telemetry {

using pl::option;

pl::option_table<unit_options> unit_options::table() {
  return {
      option(&unit_options::from, "from", "Paths of the text that names the unit; the first that is there counts.")
          .required()
          .example("[temperature.unit]"),
      option(&unit_options::accept, "accept",
             "Units that the column may have, as devices write them. A value with another unit is refused; one without "
             "any is taken.")
          .required()
          .example("[C, celsius]")};
}

pl::option_table<column_options> column_options::table() {
  return {
      option(&column_options::name, "name", "Column that comes out.").required().example("co2"),
      option(
          &column_options::from, "from",
          "Paths of the field, such as metrics.co2 or position[0]; the first that is there and not null counts. A dot "
          "inside of a key is written as \\. Default: the column's name, at the top and in nested_in.")
          .example("[metrics.co2, co2_ppm]"),
      option(
          &column_options::type, "type",
          "What the column holds. float: 64 bits; int: 64 bits, exact; json: any value as it was written; time: as in "
          "time.unit and time.zone."),
      option(&column_options::required, "required",
             "Whether a record without it (missing, null, an empty text) is refused."),
      option(&column_options::otherwise, "default", "What a record without it gets. Default: null.").example("0"),
      option(&column_options::coerce, "coerce", "As coerce of the plugin, for this column."),
      option(&column_options::unit, "unit", "Refuses values in a wrong unit, where devices name the unit.")
          .example("{from: [temperature.unit], accept: [C, celsius]}")};
}

pl::option_table<time_options> time_options::table() {
  return {
      option(&time_options::column, "column", "Column that the record's time goes to."),
      option(&time_options::from, "from",
             "Paths of the record's time, also looked for in nested_in; the first that is there and not null counts."),
      option(
          &time_options::unit, "unit",
          "What times are. auto: ISO 8601, or a number whose size tells the unit (right for all times from 1973 on). A "
          "declared unit takes nothing else."),
      option(&time_options::zone, "zone", "What times without a zone mean: utc, an offset such as +05:30, or reject.")
          .example("\"+01:00\""),
      option(&time_options::missing, "missing",
             "What to do with a record without a time: reject it, or give it the message's own time (Kafka's "
             "timestamp).")};
}

pl::option_table<window_options> window_options::table() {
  return {
      option(&window_options::past, "past",
             "How old a record's time may be; older ones are refused, so that a device with a wrong clock can't open "
             "thousands of chunks. 0: no limit.")
          .range(0),
      option(&window_options::future, "future", "How far ahead a record's time may be. 0: no limit.").range(0),
      option(&window_options::around, "around",
             "What past and future are counted from: the host's clock, or the message's own time (a replay then gives "
             "the same answer at any date), which is the clock again where a message has none.")};
}

pl::option_table<ids_from_options> ids_from_options::table() {
  return {option(&ids_from_options::topic, "topic",
                 "Ids in the message's topic: {name} is a column of type text, {} anything. No id spans a slash.")
              .example("\"users/{user_id}/devices/{device_id}/telemetry\""),
          option(&ids_from_options::key, "key",
                 "Ids in the message's key, as in topic; asked where the topic has no answer.")
              .example("\"{user_id}:{device_id}\""),
          option(&ids_from_options::conflict, "conflict",
                 "What to do where the payload names another id than topic or key: reject the record, or believe the "
                 "payload, or the path.")};
}

pl::option_table<options> options::table() {
  return {
      option(&options::payload, "payload", "Column that comes in with the JSON document, as bytes, text or JSON."),
      option(&options::time, "time", "The record's time."),
      option(&options::time_window, "time_window", "Which times are believed."),
      option(
          &options::ids, "ids",
          "Columns that say whose record it is: texts (whole numbers are taken too), required, also found in camelCase "
          "(userId, userID), as an object (user.id) or bare (user), at the top and in nested_in."),
      option(&options::ids_from, "ids_from", "Ids from the message's topic or key instead of the payload.")
          .example("{topic: \"users/{user_id}/devices/{device_id}/telemetry\"}"),
      option(&options::metrics, "metrics",
             "Columns of type float, also found in camelCase, at the top and in nested_in. Set it to what your table "
             "has."),
      option(&options::nested_in, "nested_in", "Objects that time, ids and metrics are also looked for in."),
      option(&options::columns, "columns",
             "Columns that need more than a name. One with the name of an id or a metric takes its place.")
          .example("[{name: firmware, from: [meta.fw], type: text}]"),
      option(&options::keep, "keep", "Columns that come in and go out as they are.")
          .example("[topic, partition, offset]"),
      option(&options::extra, "extra",
             "Column that gets all that isn't mapped, as a JSON object in its original text; null where nothing is "
             "left. off: "
             "it is dropped."),
      option(&options::readings, "readings",
             "Paths of arrays of objects: each element is a record, with the fields around the array as its own unless "
             "it has "
             "them itself. A document that is an array is one of records in any case."),
      option(&options::coerce, "coerce",
             "strict: a value must have its column's type, and a float must not round an integer. lenient: numbers in "
             "texts, "
             "numbers as texts, 0 and 1 as bool are taken too."),
      option(&options::invalid, "invalid",
             "What to do with a metric or an optional column that doesn't fit: reject the record, or leave the column "
             "null and "
             "keep the value in extra."),
      option(&options::duplicate_keys, "duplicate_keys", "What to do with a key that is twice in one object."),
      option(
          &options::nul, "nul",
          "What to do with \\u0000 in a text, which PostgreSQL can't store: reject the record, strip it, or keep it."),
      option(&options::tombstones, "tombstones",
             "What to do with messages without a payload (Kafka's tombstones): reject them, or skip and count them."),
      option(&options::max_depth, "max_depth", "Objects and arrays inside each other, at most.").range(1, 500),
      option(&options::max_keys, "max_keys", "Keys of one record, at most, nested ones included.").range(1, 1'000'000),
      option(&options::max_size, "max_size", "Bytes of one payload, at most.").range(2, 4'000'000'000),
      option(&options::max_id, "max_id", "Bytes of one id (columns of `ids`), at most.").range(1, 1'000'000)};
}

}  // namespace json_telemetry
