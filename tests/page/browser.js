// A headless Chromium, and pages of it that let no error pass.
import { existsSync, mkdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const require = createRequire(new URL('../../web/package.json', import.meta.url));
const { chromium } = require('playwright-core');
const kShots = fileURLToPath(new URL('../../docs/page/', import.meta.url));

export async function launch() {
  const program = [process.env.CHROMIUM, '/usr/bin/chromium', '/usr/bin/google-chrome'].find((path) => path && existsSync(path));
  if (!program) throw new Error('no Chromium: apt-get install chromium, or name one with CHROMIUM');
  return chromium.launch({ executablePath: program, args: ['--no-sandbox', '--disable-gpu'] });
}

// Errors of the page's own, violations of its policy among them. A refused request is none.
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(20000);
  page.errors = [];
  page.on('pageerror', (error) => page.errors.push(error.message));
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource')) page.errors.push(message.text());
  });
  await page.goto(url);
  return page;
}

export async function ask(page, text) {
  await page.getByLabel('Your message').fill(text);
  await page.keyboard.press('Enter');
}

// The canvas as it is now, to tell whether it moves.
export function chartPixels(page) {
  return page.locator('.chart-canvas').evaluate((canvas) => canvas.toDataURL());
}

// Into docs/page, where WEFT_SHOTS asks for it.
export async function shoot(page, name) {
  if (!process.env.WEFT_SHOTS) return;
  mkdirSync(kShots, { recursive: true });
  await page.screenshot({ path: `${kShots}${name}.png`, timeout: 60000 });
}

// Texts with less contrast on their background than WCAG 2 asks for (AA): "2.9 muted words".
export function faintTexts(page) {
  return page.evaluate(() => {
    const parse = (color) => {
      const parts = color.match(/[\d.]+/g).map(Number);
      return { rgb: parts.slice(0, 3), alpha: parts[3] ?? 1 };
    };
    const luminance = (rgb) => {
      const [r, g, b] = rgb.map((value) => {
        const part = value / 255;
        return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const backOf = (element) => {
      for (let at = element; at; at = at.parentElement) {
        const { rgb, alpha } = parse(getComputedStyle(at).backgroundColor);
        if (alpha > 0.99) return rgb;
      }
      return [255, 255, 255];
    };
    const faint = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
      const element = walker.currentNode.parentElement;
      const words = walker.currentNode.textContent.trim();
      if (!words || !element.checkVisibility() || element.closest('button:disabled, .hidden, .skip, noscript, script, option')) continue;
      const style = getComputedStyle(element);
      const inks = [luminance(parse(style.color).rgb), luminance(backOf(element))].sort((a, b) => b - a);
      const ratio = (inks[0] + 0.05) / (inks[1] + 0.05);
      const isLarge = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.66 && Number(style.fontWeight) >= 700);
      if (ratio < (isLarge ? 3 : 4.5)) faint.push(`${ratio.toFixed(1)} ${words.slice(0, 40)}`);
    }
    return faint;
  });
}
