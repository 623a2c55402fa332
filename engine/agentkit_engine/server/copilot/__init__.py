"""Code completion as editors ask for it: a hole in a text, and what fills it.

hole         what is asked for, whatever API asked, and what came of it
sentinels    prompts that mark the hole by the words that other models were taught
pieces       a text in pieces that stay as they are while it is typed
showing      what of a long text the model is shown, and where: context, canvas, or not at all
filling      asks the engine
newest       a client's newer request ends its older one
wire         the fields that all requests have
completions  POST /v1/completions       (OpenAI)
fim          POST /v1/fim/completions   (Mistral)
llama        POST /infill               (llama.cpp)
editing      POST /v1/edit/completions  a part of a text written anew
routes       all of them
"""
