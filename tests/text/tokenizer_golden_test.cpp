// The tokenizers against their references: llama.cpp for GGUF vocabularies, transformers for
// tokenizer.json. The goldens and how they were made: tools/make_text_goldens.py.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "text/gguf_vocab_file.h"
#include "text/golden_files.h"
#include "text/text.h"

namespace weft::text {
namespace {

using Ids = std::vector<int32_t>;
using json = Json;

constexpr int kMaxShown = 5;  // mismatches that are printed in full

// ASCII only, so that what differs can be seen.
std::string shown(const std::string& text) {
  return json(text).dump(-1, ' ', true, json::error_handler_t::replace);
}

Ids join(const Ids& before, const Ids& ids, const Ids& after) {
  Ids all = before;
  all.insert(all.end(), ids.begin(), ids.end());
  all.insert(all.end(), after.begin(), after.end());
  return all;
}

void expect_surroundings(const Tokenizer& tokenizer, const std::string& text, const json& golden) {
  const Ids before = golden["before"], after = golden["after"];
  for (const bool parse_special : {false, true}) {
    EXPECT_EQ(tokenizer.encode(text, true, parse_special),
              join(before, tokenizer.encode(text, false, parse_special), after));
  }
}

void expect_ids_of_real_model(const char* file_name, const std::string& golden_name) {
  const auto path = find_test_model(file_name);
  if (!path) GTEST_SKIP() << "WEFT_TEST_MODELS names no folder with " << file_name;
  const auto tokenizer = Tokenizer::from_gguf(read_gguf_vocab(*path).vocab);
  const std::vector<std::string> strings = golden_strings();
  const std::vector<json> lines = read_json_lines(golden_name);
  ASSERT_EQ(lines.size(), strings.size() + 1);
  EXPECT_EQ(hash_of_pieces(*tokenizer, false), lines[0]["pieces"].get<std::string>());
  EXPECT_EQ(hash_of_pieces(*tokenizer, true), lines[0]["pieces_special"].get<std::string>());
  int wrong = 0;
  for (size_t i = 0; i < strings.size(); ++i) {
    const json& line = lines[i + 1];
    const bool two = !line.empty() && line[0].is_array();
    const Ids plain = two ? line[0] : line, parsed = two ? line[1] : line;
    const Ids ours = tokenizer->encode(strings[i], false, false);
    const Ids ours_parsed = tokenizer->encode(strings[i], false, true);
    if ((ours != plain || ours_parsed != parsed) && wrong++ < kMaxShown) {
      EXPECT_EQ(ours, plain) << shown(strings[i]);
      EXPECT_EQ(ours_parsed, parsed) << shown(strings[i]);
    }
    if (i % 7 == 0) expect_surroundings(*tokenizer, strings[i], lines[0]);
  }
  EXPECT_EQ(wrong, 0) << "of " << strings.size();
}

TEST(TokenizerGolden, SmolLm2EqualsLlamaCpp) {
  expect_ids_of_real_model(kSmolLm2, "smollm2.jsonl");
}

TEST(TokenizerGolden, Gemma3EqualsLlamaCpp) { expect_ids_of_real_model(kGemma3, "gemma3.jsonl"); }

// Compares one hash a string, and shows the strings that differ.
void expect_hashes(const Tokenizer& tokenizer, const std::vector<std::string>& strings,
                   const std::string& hashes, bool bos_when_parsed) {
  ASSERT_EQ(hashes.size(), strings.size() * 8);
  int wrong = 0;
  for (size_t i = 0; i < strings.size(); ++i) {
    const Ids plain = tokenizer.encode(strings[i], false, false);
    const Ids parsed = tokenizer.encode(strings[i], bos_when_parsed, true);
    if (hash_of_ids(plain, parsed) == hashes.substr(i * 8, 8)) continue;
    if (wrong++ < kMaxShown) {
      ADD_FAILURE() << shown(strings[i]) << "\n plain  " << json(plain) << "\n parsed "
                    << json(parsed);
    }
  }
  EXPECT_EQ(wrong, 0) << "of " << strings.size();
}

GgufVocab small_vocab(const json& golden) {
  const json document = read_json_file(golden["vocabulary"].get<std::string>() + ".tokenizer.json");
  const json& settings = golden["settings"];
  GgufVocab vocab;
  vocab.model = settings["model"];
  vocab.pre = settings["pre"];
  const json& ids = document["model"]["vocab"];
  const json& added = document["added_tokens"];
  vocab.tokens.resize(ids.size());
  for (const auto& [text, id] : ids.items()) vocab.tokens[id.get<size_t>()] = text;
  for (const json& token : added) {
    const size_t id = token["id"];
    if (id >= vocab.tokens.size()) vocab.tokens.resize(id + 1);
    vocab.tokens[id] = token["content"];
  }
  const bool byte_level = vocab.model == "gpt2";
  for (size_t id = 0; id < vocab.tokens.size(); ++id) {
    const bool tool = vocab.tokens[id] == "<tool>";
    const int64_t rest = tool ? 4 : 1;
    if (byte_level) {
      vocab.token_types.push_back(id < 3 ? 3 : rest);
    } else {
      vocab.token_types.push_back(id == 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : rest);
      const auto step = settings["score_step"].get<size_t>();
      vocab.scores.push_back(-static_cast<double>(id / step));
    }
  }
  if (byte_level) {
    for (const json& merge : document["model"]["merges"]) {
      vocab.merges.push_back(merge[0].get<std::string>() + " " + merge[1].get<std::string>());
    }
  }
  vocab.bos_id = settings.value("bos_id", -1);
  vocab.eos_id = settings.value("eos_id", -1);
  vocab.unk_id = settings.value("unk_id", -1);
  if (settings.contains("add_bos")) vocab.add_bos = settings["add_bos"].get<bool>();
  if (settings.contains("add_eos")) vocab.add_eos = settings["add_eos"].get<bool>();
  if (settings.contains("add_space_prefix")) {
    vocab.add_space_prefix = settings["add_space_prefix"].get<bool>();
  }
  return vocab;
}

// Every kind of pre-tokenizer, and SentencePiece with distinct and with tied scores.
TEST(TokenizerGolden, SmallGgufVocabulariesEqualLlamaCpp) {
  const std::vector<std::string> strings = golden_strings();
  const json goldens = read_json_file("small_goldens.json");
  ASSERT_GE(goldens["gguf"].size(), 11u);
  for (const json& golden : goldens["gguf"]) {
    SCOPED_TRACE(golden["settings"].dump());
    const auto tokenizer = Tokenizer::from_gguf(small_vocab(golden));
    EXPECT_EQ(hash_of_pieces(*tokenizer, false), golden["pieces"].get<std::string>());
    EXPECT_EQ(hash_of_pieces(*tokenizer, true), golden["pieces_special"].get<std::string>());
    expect_hashes(*tokenizer, strings, golden["ids"], false);
    for (size_t i = 0; i < strings.size(); i += 7) {
      expect_surroundings(*tokenizer, strings[i], golden);
    }
  }
}

std::unique_ptr<Tokenizer> patched_tokenizer(const json& golden) {
  json document = read_json_file(golden["base"].get<std::string>() + ".tokenizer.json");
  document.merge_patch(golden["patch"]);
  return Tokenizer::from_json(document.dump());
}

// Ids, and the text that they decode to, for the shapes of tokenizer.json that the families use.
TEST(TokenizerGolden, TokenizerJsonEqualsTransformers) {
  const std::vector<std::string> strings = golden_strings();
  ASSERT_GE(strings.size(), 2000u);
  const json goldens = read_json_file("small_goldens.json");
  ASSERT_GE(goldens["json"].size(), 7u);
  for (const auto& [name, golden] : goldens["json"].items()) {
    SCOPED_TRACE(name);
    const auto tokenizer = patched_tokenizer(golden);
    expect_hashes(*tokenizer, strings, golden["ids"], true);
    const std::string hashes = golden["text"];
    ASSERT_EQ(hashes.size(), strings.size() * 8);
    int wrong = 0;
    for (size_t i = 0; i < strings.size(); ++i) {
      const Ids ids = tokenizer->encode(strings[i], true, true);
      const std::string plain = tokenizer->decode(ids, false);
      const std::string special = tokenizer->decode(ids, true);
      if (hash_of_texts(plain, special) == hashes.substr(i * 8, 8)) continue;
      if (wrong++ < kMaxShown) {
        ADD_FAILURE() << shown(strings[i]) << "\n plain   " << shown(plain) << "\n special "
                      << shown(special);
      }
    }
    EXPECT_EQ(wrong, 0) << "of " << strings.size();
  }
}

// A stream of tokens gives what decoding all of them at once gives.
TEST(TokenizerGolden, StreamsEqualWholeDecoding) {
  const std::vector<std::string> strings = golden_strings();
  const json goldens = read_json_file("small_goldens.json");
  for (const auto& [name, golden] : goldens["json"].items()) {
    SCOPED_TRACE(name);
    const auto tokenizer = patched_tokenizer(golden);
    for (const std::string& string : strings) {
      const Ids ids = tokenizer->encode(string, true, true);
      TextStream stream(*tokenizer, {.stop_strings = {"\n\n\n\n\n never there"}});
      std::string text;
      for (const int32_t id : ids) text += stream.push(id);
      text += stream.finish();
      ASSERT_EQ(text, tokenizer->decode(ids, false));
    }
  }
}

}  // namespace
}  // namespace weft::text
