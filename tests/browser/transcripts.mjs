// Reads the transcripts of tests/transcripts, whose format tests/transcripts.rs describes. runner.mjs runs them in a page.
import { readdir, readFile } from "node:fs/promises";

const FOLDER = new URL("../transcripts/", import.meta.url);

/** All sections of all transcripts: `{ file, name, config, steps }`. */
export async function sections() {
  const files = (await readdir(FOLDER)).filter((file) => file.endsWith(".txt")).sort();
  const all = await Promise.all(files.map(async (file) => parse(file, await readFile(new URL(file, FOLDER), "utf8"))));
  return all.flat();
}

function parse(file, text) {
  const found = [];
  let lastClient = "main";
  text.split("\n").forEach((line, index) => {
    const where = `${file}:${index + 1}`;
    const section = found.at(-1);
    const directed = /^([a-z0-9]{0,12})([<>]) (.*)$/.exec(line);
    const [, directive, rest] = /^@(sleep|config|only ours)\b ?(.*)$/.exec(line) ?? [];
    if (line.startsWith("== ")) found.push({ file, name: line.slice(3), config: [], steps: [] });
    else if (line.trim() === "" || line === "#" || line.startsWith("# ")) return;
    else if (section === undefined) throw new Error(`${where}: no section yet`);
    else if (directive === "sleep") section.steps.push({ where, sleep: Number(rest) });
    else if (directive === "config") section.config.push(/^(\S+) ?(.*)$/.exec(rest).slice(1));
    else if (directive === "only ours") return;
    else if (directed?.[2] === ">") {
      lastClient = directed[1] || "main";
      section.steps.push({ where, client: lastClient, send: directed[3] });
    } else section.steps.push({ where, client: directed ? directed[1] || "main" : lastClient, expect: directed?.[3] ?? line });
  });
  return found;
}
