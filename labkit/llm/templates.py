"""The wording of the instructions, once, for building prompts and for taking them apart."""

__all__ = ["CAPTION_STYLES", "LONG", "PASSAGES", "STYLES", "TEMPLATES"]

PASSAGES = 8  # at most so many in one prompt

# style -> how the instruction asks for it; the names are those of ``labkit.data.facts.STYLES``
STYLES = {
    "plain": "in plain sentences",
    "encyclopedia": "in the style of an encyclopedia",
    "web": "in the style of a casual web page",
    "dialogue": "as a dialogue between two people",
    "qa": "as questions and answers",
    "simple": "in very simple words",
    "terse": "in as few words as possible",
}
# the same for the captions of ``scenes``; "caption" is the form they have there
CAPTION_STYLES = {
    "caption": "as a caption",
    "sentence": "as a full sentence",
    "tags": "as a list of tags",
    "short": "in as few words as possible",
}

TEMPLATES = {
    "rewrite": "Rewrite the text {style}. Keep all facts, add none.\nText: {text}\nRewrite:",
    "answer": "Answer the question from the passages in a few words, or say unknown.\n"
    "{passages}\nQuestion: {question}\nAnswer:",
    "entities": "List the names in the text, with commas between them.\nText: {text}\nNames:",
    "relate": "Explain how {names} are related, with facts from the text only.\nText: {text}\nExplanation:",
    "write": "Write a short text about {label}.\n{examples}Text:",
    "mix": "Write a short text that is {percent}% about {label_a} and {rest}% about {label_b}.\n"
    "{examples}Text:",
    "translate": "Translate the text into {language}.\nText: {text}\nTranslation:",
    "judge": "Does the text say that the statement is true? Reply yes or no.\n"
    "Text: {text}\nStatement: {statement}\nReply:",
    "classify": "Which of these is the text about: {labels}? Reply with one of them.\nText: {text}\nLabel:",
    "caption": "Rewrite the caption of a picture {style}. Keep all it shows, add nothing.\n"
    "Caption: {text}\nRewrite:",
    "describe": "Write a caption for a picture of {label}.\nCaption:",
}
# everything but these stands on one line
LONG = ("text", "passages", "examples")
