// SPDX-License-Identifier: MIT
'use strict';
const unit={k:1e3,kB:1e3,M:1e6,MB:1e6,G:1e9,GB:1e9,T:1e12,TB:1e12,min:60,h:3600};
const number=t=>{
 const m=t.replace(/,/g,'').match(/^[-+]?[0-9.]+(e[-+]?[0-9]+)?/i);
 if(!m)return NaN;
 let sum=0;
 for(const p of t.replace(/,/g,'').matchAll(/([-+]?[0-9.]+(?:e[-+]?[0-9]+)?) ?([A-Za-z]*)/gi))sum+=parseFloat(p[1])*(unit[p[2]]||1);
 return /[A-Za-z]/.test(t)?sum:parseFloat(m[0]);
};
const order=new Intl.Collator('en',{numeric:true});
const fit=()=>{
 for(const box of document.querySelectorAll('.box'))
  if(box.scrollWidth>box.clientWidth||box.scrollHeight>box.clientHeight)box.tabIndex=0;
  else box.removeAttribute('tabindex');
};
addEventListener('resize',fit);
document.addEventListener('toggle',fit,true);
for(const table of document.querySelectorAll('.table table')){
 const body=table.tBodies[0],rows=[...body.rows],heads=[...table.tHead.rows[0].cells];
 const cell=(row,k)=>row.cells[k]?row.cells[k].textContent:'';
 if(rows.length>2&&heads.length>2)heads.forEach((head,k)=>{
  const button=document.createElement('button');
  button.type='button';
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener('click',()=>{
   const was=head.getAttribute('aria-sort'),down=was==='ascending'||(was!=='descending'&&table.classList.contains('n'+(k+1)));
   for(const other of heads)other.removeAttribute('aria-sort');
   head.setAttribute('aria-sort',down?'descending':'ascending');
   const keyed=rows.map((row,at)=>({row,at,text:cell(row,k),value:number(cell(row,k))}));
   const numbers=keyed.filter(x=>!isNaN(x.value)).length*2>keyed.length;
   keyed.sort((a,b)=>{
    if(numbers&&isNaN(a.value)!==isNaN(b.value))return isNaN(a.value)?1:-1;
    const way=numbers&&!isNaN(a.value)?a.value-b.value:order.compare(a.text,b.text);
    return (down?-way:way)||a.at-b.at;
   });
   body.append(...keyed.map(x=>x.row));
  });
 });
 if(rows.length>12){
  const filter=document.createElement('div'),label=document.createElement('label'),input=document.createElement('input'),count=document.createElement('span');
  filter.className='filter';
  input.type='search';
  label.append('Filter rows ',input);
  count.setAttribute('role','status');
  const tell=()=>{
   const words=input.value.toLowerCase().split(/\s+/);
   let shown=0;
   for(const row of rows){
    const text=row.textContent.toLowerCase();
    row.hidden=!words.every(word=>text.includes(word));
    shown+=!row.hidden;
   }
   count.textContent=shown===rows.length?rows.length+' rows':shown+' of '+rows.length+' rows';
   fit();
  };
  input.addEventListener('input',tell);
  filter.append(label,count);
  table.parentNode.before(filter);
  tell();
 }
}
fit();
for(const command of document.querySelectorAll('.command')){
 const button=document.createElement('button'),text=command.querySelector('code').textContent;
 button.type='button';
 button.textContent='Copy';
 button.addEventListener('click',async()=>{
  try{await navigator.clipboard.writeText(text);button.textContent='Copied'}
  catch(refused){getSelection().selectAllChildren(command.querySelector('code'))}
 });
 command.append(button);
}
