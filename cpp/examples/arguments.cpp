#include "arguments.hpp"

#include <charconv>
#include <functional>
#include <map>

#include "hrvit/error.hpp"

namespace infer {
namespace {

using hrvit::UsageError;

constexpr auto see_help = "see hrvit_infer --help";

std::size_t count(const std::string& option, const std::string& text) {
    std::size_t number = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, number);
    if (error != std::errc{} || stop != end || number == 0 || number > 1'000'000) {
        throw UsageError(option + " '" + text + "' is no number of anything",
                         "give a whole number from 1");
    }
    return number;
}

template <typename Value>
Value choice(const std::string& option, const std::string& text,
             const std::map<std::string, Value>& values) {
    const auto found = values.find(text);
    if (found == values.end()) {
        std::string names;
        for (const auto& [name, value] : values) {
            names += (names.empty() ? "" : " or ") + name;
        }
        throw UsageError(option + " '" + text + "' is not known", "give " + names);
    }
    return found->second;
}

using Setter = std::function<void(const std::string& option, const std::string& value)>;

std::map<std::string, Setter> setters(Arguments& into) {
    return {
        {"--out", [&](const auto&, const auto& value) { into.out = value; }},
        {"--repeat",
         [&](const auto& option, const auto& value) { into.repeat = count(option, value); }},
        {"--threads", [&](const auto& option,
                          const auto& value) { into.session.threads = count(option, value); }},
        {"--parallel",
         [&](const auto& option, const auto& value) {
             into.session.parallel = count(option, value);
         }},
        {"--fit",
         [&](const auto& option, const auto& value) {
             into.session.fit = choice<hrvit::Fit>(
                 option, value, {{"stretch", hrvit::Fit::Stretch}, {"pad", hrvit::Fit::Pad}});
         }},
        {"--precision",
         [&](const auto& option, const auto& value) {
             into.session.inference_precision = choice<hrvit::InferencePrecision>(
                 option, value,
                 {{"f32", hrvit::InferencePrecision::F32},
                  {"device", hrvit::InferencePrecision::Device}});
         }},
    };
}

}  // namespace

std::optional<Arguments> parse(const std::vector<std::string>& words) {
    Arguments arguments;
    const auto known = setters(arguments);
    std::vector<std::filesystem::path> paths;
    for (auto word = words.begin(); word != words.end(); ++word) {
        if (*word == "-h" || *word == "--help") {
            return std::nullopt;
        }
        if (*word == "--allow-code") {
            arguments.session.allow_host_code = true;
        } else if (word->rfind('-', 0) != 0) {
            paths.emplace_back(*word);
        } else if (const auto setter = known.find(*word); setter == known.end()) {
            throw UsageError("there is no option " + *word, see_help);
        } else if (std::next(word) == words.end()) {
            throw UsageError(*word + " wants a value", see_help);
        } else {
            setter->second(setter->first, *++word);
        }
    }
    if (paths.size() < 2) {
        throw UsageError(paths.empty() ? "no model was given" : "no image was given", see_help);
    }
    arguments.model = paths.front();
    arguments.images.assign(paths.begin() + 1, paths.end());
    return arguments;
}

}  // namespace infer
