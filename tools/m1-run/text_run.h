// Text in, text out, through engines, one a device: one prompt, many prompts, or a conversation.
#ifndef M1_TOOLS_RUN_TEXT_RUN_H
#define M1_TOOLS_RUN_TEXT_RUN_H

#include "arguments.h"
#include "model/model.h"

namespace m1tool {

/// --prompt, --prompt-file or --input-ids: samples of one prompt; prints them, their vote, or JSON.
m1rt::Status runPrompt(const std::vector<m1rt::Model *> &models, const Arguments &arguments,
                       double loadSeconds);

/// --prompts: samples of many prompts, one JSON object a line as they end.
m1rt::Status runPrompts(const std::vector<m1rt::Model *> &models, const Arguments &arguments,
                        double loadSeconds);

/// --chat: reads turns from standard input until its end; Ctrl-C stops the answer at hand.
m1rt::Status runChat(m1rt::Model &model, const Arguments &arguments, double loadSeconds);

} // namespace m1tool

#endif
