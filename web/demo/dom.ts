/** The little of a framework that this page needs. Text goes in as text, never as markup. */

type Child = Node | string | null | undefined | false;
type Props = Record<string, string | number | boolean | ((event: Event) => void) | undefined>;

/** An element: attributes by name, listeners as `onclick`, booleans as bare attributes. */
export function h<Tag extends keyof HTMLElementTagNameMap>(
  tag: Tag,
  props: Props = {},
  ...children: Child[]
): HTMLElementTagNameMap[Tag] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== undefined && value !== false) made.setAttribute(name, String(value));
  }
  made.append(...children.filter((child): child is Node | string => Boolean(child)));
  return made;
}

/** The element with this id; the page has it. */
export function $<Kind extends HTMLElement = HTMLElement>(id: string): Kind {
  return document.getElementById(id) as Kind;
}

export function bytes(count: number): string {
  if (count < 1 << 20) return `${Math.max(1, Math.round(count / 1024))} KB`;
  if (count < 1 << 30) return `${(count / (1 << 20)).toFixed(count < 10 << 20 ? 1 : 0)} MB`;
  return `${(count / (1 << 30)).toFixed(2)} GB`;
}

export function rate(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(1);
}

export function duration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}
