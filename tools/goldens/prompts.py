"""What the real models are asked: plain text in several languages, code, and conversations."""

PLAIN = {
    "english": "The weaver set the warp on the loom before sunrise, because the light in the "
               "morning was better for the eyes, and by noon",
    "facts": "The boiling point of water at sea level is 100 degrees Celsius. The freezing point "
             "of water is",
    "french": "Il était une fois, dans un petit village au bord de la mer, un vieux pêcheur qui "
              "ne parlait à personne. Un matin d'hiver,",
    "german": "Die Donau entspringt im Schwarzwald und mündet ins Schwarze Meer. Auf ihrem Weg "
              "fließt sie durch",
    "spanish": "¿Por qué el cielo es azul? La luz del sol contiene todos los colores, pero",
    "russian": "Москва — столица России, а Санкт-Петербург",
    "chinese": "中国的首都是北京。日本的首都是",
    "japanese": "むかしむかし、あるところに、おじいさんとおばあさんが",
    "arabic": "العاصمة الفرنسية هي مدينة باريس، وتقع على ضفاف نهر",
    "emoji": "Weather today: ☀️ 24°C, tomorrow: 🌧️ 17°C. Family 👨‍👩‍👧‍👦 plans:",
    "python": "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n    if n < 2:\n"
              "        return n\n    return",
    "cpp": "#include <vector>\n\n// Sums the elements of a vector.\nint sum(const std::vector<int>& "
           "values) {\n  int total = 0;\n  for (int value : values) {\n",
    "json": "{\"name\": \"Ada\", \"born\": 1815, \"fields\": [\"mathematics\", \"computing\"]}\n"
            "{\"name\": \"Alan\", \"born\": 1912, \"fields\": [",
    "arithmetic": "12 + 7 = 19\n30 - 4 = 26\n8 * 9 = 72\n144 / 12 =",
    "whitespace": "item\tcount\tprice\napple\t  3\t0.50\npear\t 12\t0.35\n\n\n   total\t",
}

CHATS = {
    "chat-capital": [{"role": "user", "content": "What is the capital of France?"}],
    "chat-system": [{"role": "system", "content": "You answer in one short sentence."},
                    {"role": "user", "content": "Why do leaves turn red in autumn?"}],
    "chat-turns": [{"role": "user", "content": "Give me three words that rhyme with light."},
                   {"role": "assistant", "content": "Night, bright, flight."},
                   {"role": "user", "content": "Now use all three in a sentence."}],
    "chat-code": [{"role": "user",
                   "content": "Write a Python function that reverses a string."}],
    "chat-german": [{"role": "user", "content": "Erkläre kurz, was eine Webkette ist."}],
}

# Gemma's template, for a file that carries none. A system message joins the first user turn.
GEMMA_TEMPLATE = (
    "{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\n\n' %}"
    "{% set messages = messages[1:] %}{% else %}{% set first = '' %}{% endif %}"
    "{% for m in messages %}<start_of_turn>{{ 'model' if m['role'] == 'assistant' else 'user' }}\n"
    "{{ first if loop.first else '' }}{{ m['content'] }}<end_of_turn>\n{% endfor %}"
    "<start_of_turn>model\n")
