// Opens a lesson in JupyterLab in a real browser, runs it, moves the first slider and the first drop-down list, where there are any, of its
// widget, and looks whether the output follows. Optional, before a release; needs Chromium and, in the folder that NODE_PATH names or the current
// one, `npm install playwright-core`.
//
//     node tests/browser/drive_widgets.mjs notebooks/05_the_diffusion_kernel.ipynb shots
//
// Writes screenshots of the widget in the light and the dark theme, and of the cells whose numbers CELLS lists (0,13),
// to the folder `shots`; exit status 1 on any failure.
import { spawn } from 'node:child_process';
import { copyFileSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';

const { chromium } = createRequire(join(process.env.NODE_PATH ?? process.cwd(), 'x.js'))('playwright-core');
const [notebook, shots = 'shots'] = process.argv.slice(2);
const port = 8700 + (process.pid % 200);
const home = mkdtempSync(join(tmpdir(), 'dlgm-browser-'));
mkdirSync(shots, { recursive: true });
copyFileSync(notebook, join(home, basename(notebook))); // the committed file is not touched
mkdirSync(join(home, 'config', 'labconfig'), { recursive: true });
writeFileSync(join(home, 'config', 'labconfig', 'page_config.json'),
  JSON.stringify({ disabledExtensions: { '@jupyterlab/apputils-extension:announcements': true } }));

const lab = spawn('jupyter', ['lab', '--no-browser', '--allow-root', '--ServerApp.ip=127.0.0.1', `--ServerApp.port=${port}`,
  '--ServerApp.port_retries=0', '--IdentityProvider.token=tok', `--ServerApp.root_dir=${home}`,
  '--LabApp.expose_app_in_browser=True', '--LabApp.extension_manager=readonly'],
{ env: { ...process.env, JUPYTER_CONFIG_DIR: join(home, 'config'), JUPYTER_DATA_DIR: join(home, 'data') }, stdio: 'ignore' });

async function until(what, test, seconds = 60) {
  for (const end = Date.now() + 1000 * seconds; Date.now() < end;) {
    try { if (await test()) return; } catch { /* not yet */ }
    await new Promise((r) => setTimeout(r, 200));
  }
  throw new Error(`waited ${seconds} s for ${what}`);
}

let browser, failed = 0;
try {
  await until('JupyterLab', async () => (await fetch(`http://127.0.0.1:${port}/api?token=tok`)).ok);
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync'] });
  const page = await browser.newPage({ viewport: { width: 1280, height: 1300 } });
  await page.goto(`http://127.0.0.1:${port}/lab/tree/${basename(notebook)}?token=tok&reset`);
  await page.waitForFunction(() => window.jupyterapp?.shell?.currentWidget?.context
    ?.sessionContext?.session?.kernel?.status === 'idle', null, { timeout: 60000 });
  await page.evaluate(() => window.jupyterapp.commands.execute('notebook:run-all-cells'));

  // bring the widget's cell into view: JupyterLab renders only what is near the viewport
  const found = await page.evaluate(async () => {
    const content = window.jupyterapp.shell.currentWidget.content;
    const at = content.widgets.findIndex((c) => c.model.type === 'code' && c.model.outputs.length > 0
      && [...Array(c.model.outputs.length).keys()].some((i) => c.model.outputs.get(i).data['application/vnd.jupyter.widget-view+json']));
    if (at < 0) return false;
    content.activeCellIndex = at;
    await content.scrollToItem(at, 'start');
    return true;
  });
  if (!found) throw new Error('no cell shows a widget');
  const shown = page.locator('.widget-image, .widget-htmlmath').first();
  await shown.waitFor({ timeout: 30000 });
  await shown.scrollIntoViewIfNeeded();
  const source = () => shown.evaluate((x) => x.src ?? x.innerText);
  const changes = async (what, act) => {
    const before = await source();
    await act();
    await until(`the output to follow ${what}`, async () => (await source()) !== before, 15);
    console.log(`${what}: the output follows`);
  };
  await page.waitForTimeout(800);
  await page.screenshot({ path: join(shots, 'widget_start.png') });
  if (await page.locator('.noUi-handle').count()) {
    await changes('the slider', async () => {
      await page.locator('.noUi-handle').first().focus();
      for (let i = 0; i < 10; i++) await page.keyboard.press('PageUp');
    });
  }
  const list = page.locator('.widget-dropdown select').first();
  if (await list.count()) await changes('the drop-down list', () => list.selectOption({ index: Number(process.env.OPTION ?? 1) }));
  await page.waitForTimeout(1500);
  await page.screenshot({ path: join(shots, 'widget_light.png') });
  await page.evaluate(() => window.jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' }));
  await page.waitForTimeout(2500);
  await page.screenshot({ path: join(shots, 'widget_dark.png') });
  for (const cell of (process.env.CELLS ?? '0').split(',').map(Number)) {
    await page.evaluate((i) => window.jupyterapp.shell.currentWidget.content.scrollToItem(i, 'start'), cell);
    await page.waitForTimeout(1500);
    await page.screenshot({ path: join(shots, `cell${cell}_dark.png`) });
  }
} catch (error) {
  console.error(String(error));
  failed = 1;
} finally {
  await browser?.close();
  lab.kill();
}
process.exit(failed);
