// The call that asks this model, to copy.

export function snippet(language, { place, base, keyed }) {
  const url = `${location.origin}${place}/predict`;
  return language === "curl" ? curl(url, base, keyed) : python(url, base, keyed);
}

const EXAMPLE = {
  text: "where is my card?",
  vector: (base) => `[${Array(base.row?.inputs ?? 2).fill("0.5").join(", ")}]`,
};

function curl(url, base, keyed) {
  const head = [`curl -s ${url} \\`, "  -H 'Content-Type: application/json' \\"];
  if (keyed) head.push('  -H "Authorization: Bearer $KSHOT_KEY" \\');
  if (base.modality === "image") return [...head, '  -d "{\\"inputs\\": [\\"$(base64 < picture.png | tr -d \'\\n\')\\"]}"'].join("\n");
  const value = base.modality === "text" ? JSON.stringify(EXAMPLE.text) : EXAMPLE.vector(base);
  return [...head, `  -d '{"inputs": [${value}]}'`].join("\n");
}

function python(url, base, keyed) {
  const image = base.modality === "image";
  const value = image ? "base64.b64encode(open('picture.png', 'rb').read()).decode()" : base.modality === "text" ? JSON.stringify(EXAMPLE.text) : EXAMPLE.vector(base);
  const names = [...(image ? ["base64"] : []), "json", ...(keyed ? ["os"] : []), "urllib.request"].join(", ");
  const headers = keyed
    ? '{"Content-Type": "application/json", "Authorization": f"Bearer {os.environ[\'KSHOT_KEY\']}"}'
    : '{"Content-Type": "application/json"}';
  return [
    `import ${names}`, "",
    `body = json.dumps({"inputs": [${value}]}).encode()`,
    `request = urllib.request.Request("${url}", body, ${headers})`,
    "answer = json.load(urllib.request.urlopen(request))",
    'print(answer["predictions"][0])',
  ].join("\n");
}
